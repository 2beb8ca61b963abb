"""Is a recipe better than another? Differences of top-1 between runs with the same seed.

Runs with one seed begin with the same weights and see the samples in the same order, so that
differences within pairs vary less than the two results do. With d_i the difference of seed i, in
the last validated epoch, and n seeds in common:

    mean d  ±  t * s / sqrt(n)      s: sample deviation of d, t: 97.5 % of Student's, n - 1 degrees

is the 95 % interval of the difference, if the d_i are normally distributed. Below three seeds none
is given: with two, t is 12.7.
"""

from dataclasses import dataclass
from math import sqrt
from statistics import mean, stdev

from train.reported import Kind, Run

FEWEST = 3  # seeds for an interval
HEAD = ("run", "seeds in common", "top-1, difference", "95 % interval", "")


@dataclass(frozen=True)
class Difference:
    seeds: int
    mean: float | None  # points of top-1; None without a seed in common
    margin: float | None  # half the 95 % interval; None below FEWEST seeds

    @property
    def words(self) -> str:
        if self.mean is None:
            return "no seed in common"
        if self.margin is None:
            return f"not known: fewer than {FEWEST} seeds"
        if abs(self.mean) <= self.margin:
            return "not clear: the interval contains 0"
        return "better" if self.mean > 0 else "worse"


def difference(kind: Kind, baseline: Kind) -> Difference:
    mine, theirs = _by_seed(kind.runs), _by_seed(baseline.runs)
    found = [mine[seed] - theirs[seed] for seed in mine if seed in theirs]
    if not found:
        return Difference(0, None, None)
    margin = None
    if len(found) >= FEWEST:
        from scipy.special import stdtrit  # type: ignore[import-untyped]  # here: takes 0.2 s

        quantile = float(stdtrit(len(found) - 1, 0.975))
        margin = quantile * stdev(found) / sqrt(len(found))
    return Difference(len(found), mean(found), margin)


def rows(kinds: list[Kind], baseline: Kind) -> list[tuple[str, ...]]:
    """Of HEAD, for every kind but the baseline."""
    return [_row(kind.name, difference(kind, baseline)) for kind in kinds if kind is not baseline]


def _row(name: str, found: Difference) -> tuple[str, ...]:
    by, margin = found.mean, found.margin
    interval = "-" if by is None or margin is None else f"{by - margin:+.2f} to {by + margin:+.2f}"
    return name, str(found.seeds), "-" if by is None else f"{by:+.2f}", interval, found.words


def _by_seed(runs: tuple[Run, ...]) -> dict[int, float]:
    found: dict[int, list[float]] = {}
    for run in runs:
        if (top1 := run.last("top1")) is not None:
            found.setdefault(run.seed, []).append(top1)
    return {seed: mean(values) for seed, values in found.items()}
