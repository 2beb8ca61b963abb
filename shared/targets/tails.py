"""How a teacher's channel means are distributed over a split: the spread of every channel, and how
heavy the tails are.

Of a teacher that normalises with running statistics, a few images far from all others may hold
most of the variance of a stage's means: 0.9 of it in the worst case measured, for 1 % of the
images. A squared error then follows those few. `spread` measures every channel without them, and
train/losses.py divides by it. cache/tails_file.py keeps both beside a cache.

Shapes: n samples that are looked at, C_s channels of stage s.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from shared.targets.encoding import Encoding

FAR = 0.01  # the share of samples, or of a channel's values, that counts as its tail
HEAVY = 0.25  # of a stage's variance in the tail; of a Gaussian channel's 0.04 are
LEAST_SPREAD = 1e-2  # of the mean of a stage's: channels that hardly move are not blown up
DIGITS = 6  # of every number: the last bits depend on the number of threads


@dataclass(frozen=True)
class Tails:
    """Of the channel means of view 0, a value or a tuple of C_s values a stage."""

    samples: int  # that were looked at
    share: tuple[float, ...]  # of a stage's variance that its farthest 1 % of samples hold
    farthest: tuple[float, ...]  # largest distance of a sample from the mean / the median distance
    spread: tuple[tuple[float, ...], ...]  # deviation of a channel's values below their 99th
    # percentile

    @property
    def are_heavy(self) -> bool:
        """Of fewer samples a single one is more than the tail."""
        return self.samples >= 1 / FAR and max(self.share) > HEAVY

    def on(self, device: torch.device) -> tuple[Tensor, ...]:
        """The spread of every channel, float32 (C_s,) a stage."""
        return tuple(torch.tensor(stage, device=device) for stage in self.spread)

    def line(self) -> str:
        shares, farthest = (" ".join(f"{x:.2g}" for x in v) for v in (self.share, self.farthest))
        return (
            f"tails    the farthest 1 % of images hold {shares} of the variance of the channel "
            f"means, stage by stage; the farthest lies {farthest} times as far out as the median"
        )


def tails_of(stages: tuple[Tensor, ...]) -> Tails:
    """(n, C_s) means a stage, the same n samples each."""
    found = [_stage(means.double()) for means in stages]
    share, farthest, spread = zip(*found, strict=True)
    return Tails(len(stages[0]), share, farthest, spread)


def _stage(means: Tensor) -> tuple[float, float, tuple[float, ...]]:
    squares = (means - means.mean(0)).square().sum(1)
    top = squares.topk(math.ceil(FAR * len(squares))).values.sum()
    total, median = float(squares.sum()), float(squares.sqrt().median())
    share = float(top) / total if total > 0 else 0.0
    farthest = float(squares.sqrt().max()) / median if median > 0 else 1.0
    below = means.sort(0).values[: max(1, math.ceil((1 - FAR) * len(means)))]
    spread = below.std(0, correction=0)
    spread = spread.clamp(min=LEAST_SPREAD * float(spread.mean()))
    # Of one sample, or of a teacher that says the same of all of them.
    spread = torch.where(spread > 0, spread, 1.0)
    return _rounded(share), _rounded(farthest), tuple(map(_rounded, spread.tolist()))


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def tails_of_fields(
    encoding: Encoding, stages: tuple[int, ...], parts: Iterable[Mapping[str, Tensor]]
) -> Tails:
    """Of rows as a cache stores them, in parts; `stages` are the C_s."""
    decoded = torch.cat([encoding.decode(fields, None)["channels"] for fields in parts])
    return tails_of(decoded.split(list(stages), dim=1))
