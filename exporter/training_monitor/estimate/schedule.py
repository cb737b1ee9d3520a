"""Where the learning rate will end: the schedule is inferred from what the log showed of it so far."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Future(NamedTuple):
    """One way in which the schedule may go on."""

    weight: float  # probability
    end: float  # learning rate at the last step over the highest one, 0 to 1
    area: float  # area under the relative learning rate from now to the last step, in steps


#: A learning rate below this part of its peak has begun to decay.
DECAYED = 0.99
#: Decays that have not begun begin in this part of the run (nanochat 0.35 to 0.8, modded-nanogpt 0.7, WSD 0.8 to 0.9).
DECAY_BEGINS = (0.5, 0.95)
#: Probabilities before anything is seen: constant to the end, steps down to a tenth, warm-down to nothing.
CONSTANT, STEPS, WARM_DOWN = 0.25, 0.15, 0.6


def futures(center: NDArray[np.float64], relative: NDArray[np.float64], total: int) -> list[Future]:
    """How the schedule may go on, from steps `center` (n,) and learning rates over their highest one `relative` (n,).

    A decay that is under way is extrapolated by the one of cosine, line and step that fits it best. A rate that
    is still constant may stay so or fall: that is the part of the final loss which nobody can know.
    """
    now = float(center[-1])
    left = total - now
    if relative[-1] > DECAYED:
        low, high = DECAY_BEGINS
        still = min(1.0, max(0.05, (high - now / total) / (high - low)))
        weights = (CONSTANT, STEPS * still, WARM_DOWN * still)
        shapes = ((1.0, 1.0), (0.1, 0.7), (0.02, 0.6))
        return [Future(w / sum(weights), end, left * mean) for w, (end, mean) in zip(weights, shapes, strict=True)]
    return _decaying(center, relative, total)


def _decaying(center: NDArray[np.float64], relative: NDArray[np.float64], total: int) -> list[Future]:
    import numpy as np

    top = np.flatnonzero(relative >= 0.995)
    first = int(top[0]) if len(top) else 0
    last = int(top[-1]) if len(top) else 0
    t, y = center[max(0, last - 1) :], relative[max(0, last - 1) :]
    now, value, left = float(center[-1]), float(relative[-1]), float(total - center[-1])
    if len(t) < 4:
        return [Future(1.0, 0.5 * value, 0.75 * value * left)]
    ahead = np.linspace(now, total, 20)
    shapes = [_cosine(t, y, start, total, ahead) for start in (0.0, float(center[first]))]
    recent = slice(-max(3, len(t) // 2), None)
    shapes.append(_fitted(np.c_[np.ones_like(t), t][recent], y[recent], np.c_[np.ones_like(ahead), ahead]))
    misfit, path = min(shapes, key=lambda shape: shape[0])
    if np.std(y[-max(3, len(y) // 4) :]) + 1e-4 < misfit:  # a stair: there may be another one
        return [Future(0.6, min(0.1, value), 0.8 * value * left), Future(0.4, value, value * left)]
    path = np.clip(path, 0.0, 1.0)
    return [Future(1.0, float(path[-1]), float((path[1:] + path[:-1]).sum() / 2 * (ahead[1] - ahead[0])))]


def _cosine(
    t: NDArray[np.float64], y: NDArray[np.float64], start: float, total: int, ahead: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """Half a cosine from `start` to `total` with free ends."""
    import numpy as np

    def shape(x: NDArray[np.float64]) -> NDArray[np.float64]:
        phase = np.clip((x - start) / max(1.0, total - start), 0, 1)
        columns: NDArray[np.float64] = np.c_[np.ones_like(x), (1 + np.cos(np.pi * phase)) / 2]
        return columns

    return _fitted(shape(t), y, shape(ahead))


def _fitted(
    x: NDArray[np.float64], y: NDArray[np.float64], ahead: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """Root mean square of the residuals of a least-squares fit, and its values ahead."""
    import numpy as np

    coefficients = np.linalg.lstsq(x, y, rcond=None)[0]
    path: NDArray[np.float64] = ahead @ coefficients
    return float(np.sqrt(np.mean((x @ coefficients - y) ** 2))), path
