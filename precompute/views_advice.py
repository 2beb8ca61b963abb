"""How many views an image are enough, from what was measured: for precompute/plan.py.

With K views, epoch e trains on view e mod K, so a student of few views sees the same crops again
and again. MEASURED is top-1 in percent on CIFAR-10 after 32 epochs, the mean of 2 seeds, for a
ResNet-18 that a ResNet-34 taught from caches of K pad-crop views (10,000 images, one H200;
`tests/bench/tails.py --arms views`, docs/study.md). Its largest K gives every epoch its own view.
"""

import math
from collections.abc import Callable

MEASURED = {
    "KD": {1: 66.4, 2: 70.3, 4: 71.2, 8: 71.6, 16: 71.8, 32: 72.1},
    "RCD + GKD + EDT": {1: 73.8, 2: 75.5, 4: 76.3, 8: 76.7, 16: 77.0, 32: 77.1},
}
ENOUGH = 0.85  # of the gain
OF_DISK = 0.8  # of the free bytes may be taken by a cache that is recommended


def share_of_gain(views: int) -> float:
    """Of what a new view every epoch gains over one view: 0 for one view, at most 1.

    It is that of the loss that gains least by `views`, linear in log(K) between measured numbers.
    """
    return min(_share(found, views) for found in MEASURED.values())


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
    measured = sorted(next(iter(MEASURED.values())))
    room = [views for views in measured if num_bytes(views) <= OF_DISK * free]
    return next(
        (views for views in room if share_of_gain(views) >= ENOUGH), max(room, default=None)
    )
