"""How noisy a loss is, from its curve alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from training_monitor.estimate.curve import LAST, LINES, LOSS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: The final loss is the mean over this last part of a run: one step alone is as noisy as the log.
END = 0.02
LATEST = 60  # rows whose noise is that of the end
LEAST = 2e-4  # relative noise of a row: losses are logged with four or five digits


def noise_of(loss: NDArray[np.float64]) -> float:
    """Standard deviation of one point, from second differences, which the trend does not enter."""
    import numpy as np

    second = loss[2:] - 2 * loss[1:-1] + loss[:-2]
    return max(LEAST, 1.4826 * float(np.median(np.abs(second - np.median(second)))) / math.sqrt(6))


def noise_at_end(table: NDArray[np.float64], total: int) -> float:
    """Standard deviation of the mean over the last `END` of a run, over the present loss. `table`: as in final_loss."""
    import numpy as np

    latest = table[-LATEST:]
    steps = max(1.0, table[-1, LAST] - table[0, LAST] + 1)
    lines = max(1.0, END * total * table[:, LINES].sum() / steps)
    relative = without_spikes(latest[:, LOSS]) / np.median(latest[-9:, LOSS])
    return noise_of(relative) * math.sqrt(float(np.median(latest[:, LINES])) / lines)


def without_spikes(loss: NDArray[np.float64]) -> NDArray[np.float64]:
    """The losses, those far off the median of the five around them replaced by it."""
    import numpy as np

    around = np.median(np.lib.stride_tricks.sliding_window_view(np.pad(loss, 2, mode="edge"), 5), axis=1)
    far = np.abs(loss - around) > 6 * noise_of(loss)
    return np.where(far, around, loss)
