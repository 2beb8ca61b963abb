"""How many views an image are enough, from what was measured: for precompute/plan.py.

With K views, epoch e trains on view e mod K, so a student of few views sees the same crops again
and again. MEASURED is top-1 in percent after as many epochs as the largest K, so that this gives
every epoch a view of its own (pad-crop, the mean of 2 seeds; docs/study.md):

CIFAR-10   ResNet-34 -> ResNet-18, 10,000 images (`tests/bench/tails.py --arms views`, one H200)
CIFAR-100  ResNet-56 -> ResNet-8, 2,000 images (`tests/bench/study.py --part views`, two CPU cores)
"""

import math
from collections.abc import Callable

MEASURED = {
    "CIFAR-10, CE + KD": {1: 66.4, 2: 70.3, 4: 71.2, 8: 71.6, 16: 71.8, 32: 72.1},
    "CIFAR-10, RCD + GKD + EDT": {1: 73.8, 2: 75.5, 4: 76.3, 8: 76.7, 16: 77.0, 32: 77.1},
    "CIFAR-100, CE + KD": {1: 20.4, 2: 21.1, 4: 20.6, 8: 20.5, 16: 21.0, 40: 20.9},
    "CIFAR-100, CE + CD": {1: 21.9, 2: 25.9, 4: 26.9, 8: 26.9, 16: 27.2, 40: 27.3},
}
NOISE = 1.0  # points: about the standard deviation over seeds of one number
ENOUGH = 0.85  # of the gain
OF_DISK = 0.8  # of the free bytes may be taken by a cache that is recommended


def share_of_gain(views: int) -> float:
    """Of what a new view every epoch gains over one view: 0 for one view, at most 1.

    It is the least of those measured, each linear in log(K) between its numbers of views.
    """
    return min(_share(found, views) for found in told_from_noise())


def told_from_noise() -> list[dict[int, float]]:
    """Those of MEASURED that gain at least twice NOISE: a share of a smaller gain means nothing."""
    return [found for found in MEASURED.values() if found[max(found)] - found[1] >= 2 * NOISE]


def _share(found: dict[int, float], views: int) -> float:
    most = max(found)
    if views >= most:
        return 1.0
    below = max(k for k in found if k <= views)
    above = min(k for k in found if k > views)
    part = math.log(views / below) / math.log(above / below)
    top1 = found[below] + part * (found[above] - found[below])
    return (top1 - found[1]) / (found[most] - found[1])


def recommended_views(num_bytes: Callable[[int], float], free: float) -> int | None:
    """The least number of views that has ENOUGH of the gain, or the most for which there is room.

    `num_bytes` is the size of a cache of so many views. None: there is no room for one view.
    """
    measured = sorted({views for found in MEASURED.values() for views in found})
    room = [views for views in measured if num_bytes(views) <= OF_DISK * free]
    return next(
        (views for views in room if share_of_gain(views) >= ENOUGH), max(room, default=None)
    )
