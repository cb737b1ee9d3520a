"""How the learning rate will go on: the schedule is inferred from what the log showed of it so far."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from training_monitor.estimate.noise import END

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Future(NamedTuple):
    """One way in which the schedule may go on."""

    weight: float  # probability
    end: float  # learning rate over its peak in the last `END` of the run, 0 to 1
    area: float  # area under the relative learning rate from now to the last step, in steps


#: A learning rate below this part of its peak has begun to decay.
DECAYED = 0.99
#: Probabilities at the start of a run: constant to the end, steps down, a linear warm-down to nothing.
CONSTANT, STEPS, WARM_DOWN = 0.2, 0.15, 0.65
#: Where a decay begins, as part of the run: nanochat 0.35 to 0.8, modded-nanogpt 0.4 to 0.7, WSD 0.8 to 0.95.
BEGINS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
STEP_BEGINS, STEP = (0.5, 0.6, 0.7, 0.8, 0.9), 0.1
NEXT_STEP = 0.32  # DeepSeek steps to 0.316 of the peak and again to 0.1
FLAT = 1e-3  # relative range of a learning rate that does not move
POINTS_AHEAD = 101


def futures(center: NDArray[np.float64], relative: NDArray[np.float64], total: int) -> list[Future]:
    """How the schedule may go on, from steps `center` (n,) and learning rates over their highest one `relative` (n,).

    A decay that is under way is extrapolated by the one of cosine and line that fits it best. A rate that is still
    constant may stay so or fall, and one that has stepped down may do so again: nobody can know.
    """
    import numpy as np

    now, value = float(center[-1]), float(relative[-1])
    ahead = np.linspace(now, total, POINTS_AHEAD)
    part = ahead / total
    tail = relative[-max(4, len(relative) // 20) :]
    if value > DECAYED:
        paths = [(CONSTANT, np.ones_like(part))]
        paths += [(STEPS / len(STEP_BEGINS), np.where(part < b, 1.0, STEP)) for b in STEP_BEGINS if b > part[0]]
        paths += [(WARM_DOWN / len(BEGINS), np.minimum(1.0, (1 - part) / (1 - b))) for b in BEGINS if b > part[0]]
    elif len(relative) > len(tail) and np.ptp(tail) < FLAT * value:
        again = np.where(part < (1 + part[0]) / 2, value, NEXT_STEP * value)
        paths = [(0.5, np.full_like(part, value)), (0.5, again)]
    else:
        paths = [(1.0, _decaying(center, relative, total, ahead))]
    weights = sum(weight for weight, _ in paths)
    return [_future(weight / weights, path, ahead) for weight, path in paths]


def _future(weight: float, path: NDArray[np.float64], ahead: NDArray[np.float64]) -> Future:
    import numpy as np

    end = float(np.interp(ahead[-1] * (1 - END / 2), ahead, path))
    return Future(weight, end, float((path[1:] + path[:-1]).sum() / 2 * (ahead[1] - ahead[0])))


def _decaying(
    center: NDArray[np.float64], relative: NDArray[np.float64], total: int, ahead: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The rest of a decay that is under way."""
    import numpy as np

    top = np.flatnonzero(relative >= 0.995)
    first, last = (int(top[0]), int(top[-1])) if len(top) else (0, 0)
    t, y = center[max(0, last - 1) :], relative[max(0, last - 1) :]
    if len(t) < 4:
        path: NDArray[np.float64] = relative[-1] * (total - ahead) / (total - ahead[0])
        return path
    recent = slice(-max(3, len(t) // 2), None)
    line = _fitted(np.c_[np.ones_like(t), t][recent], y[recent], np.c_[np.ones_like(ahead), ahead])
    shapes = [line, *(_cosine(t, y, start, total, ahead) for start in (0.0, float(center[first])))]
    _, path = min(shapes, key=lambda shape: shape[0])
    return np.clip(path, 0.0, 1.0)


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
