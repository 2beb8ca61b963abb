"""Measures how a teacher's channel means are distributed over a split: spread and heavy tails.

With a teacher that normalises with running statistics, a few outlying images may account for most
of the variance of a stage's means: 1 % of the images for 0.9 of it, in the worst case measured. A
squared error then follows those few. `spread` measures every channel without them, and
train/losses/channels.py divides by it. store/tails_file.py stores the result beside a cache.

Shapes: n samples measured, C_s channels in stage s.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from shared.targets.encoding import Encoding

FAR = 0.01  # share of the samples, or of a channel's values, that counts as the tail
HEAVY = 0.25  # heavy tails hold more than this share of a stage's variance; 0.04 if Gaussian
LEAST_SPREAD = 1e-2  # of the stage's mean spread, so that nearly constant channels do not blow up
DIGITS = 6  # significant digits kept: the last bits depend on the number of threads


@dataclass(frozen=True)
class Tails:
    """Statistics of the channel means of view 0: per stage, one value or a tuple of C_s values."""

    samples: int  # number of samples measured
    share: tuple[float, ...]  # of the stage's variance, held by the farthest 1 % of samples
    farthest: tuple[float, ...]  # largest distance of a sample from the mean / median distance
    # Standard deviation of each channel's values below their 99th percentile.
    spread: tuple[tuple[float, ...], ...]

    @property
    def are_heavy(self) -> bool:
        """False for fewer than 100 samples, where one sample is already more than 1 %."""
        return self.samples >= 1 / FAR and max(self.share) > HEAVY

    def on(self, device: torch.device) -> tuple[Tensor, ...]:
        """The spread of every channel: a float32 tensor (C_s,) per stage."""
        return tuple(torch.tensor(stage, device=device) for stage in self.spread)

    def line(self) -> str:
        shares, farthest = (" ".join(f"{x:.2g}" for x in v) for v in (self.share, self.farthest))
        return (
            f"tails    the farthest 1 % of images hold {shares} of the variance of the channel "
            f"means, stage by stage; the farthest lies {farthest} times as far out as the median"
        )


def tails_of(stages: tuple[Tensor, ...]) -> Tails:
    """Tails of `stages`: channel means (n, C_s) per stage, of the same n samples."""
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
    # The spread is 0 for a single sample, or if the teacher's output is the same for all.
    spread = torch.where(spread > 0, spread, 1.0)
    return _rounded(share), _rounded(farthest), tuple(map(_rounded, spread.tolist()))


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def tails_of_fields(
    encoding: Encoding, stages: tuple[int, ...], parts: Iterable[Mapping[str, Tensor]]
) -> Tails:
    """Tails of encoded rows as a cache stores them, given in parts; `stages` are the C_s."""
    decoded = torch.cat([encoding.decode(fields, None)["channels"] for fields in parts])
    return tails_of(decoded.split(list(stages), dim=1))
