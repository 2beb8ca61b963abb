"""Error bars, bands and paired differences, against numpy and a table of Student's t."""

from pathlib import Path

import numpy as np
import pytest

from tests.helpers import require_refused, run
from tests.test_report import cells, without_val, write_run
from train.final_plot import ranked
from train.paired import difference
from train.plots import band
from train.reported import kinds_of, read_runs

T = {2: 4.302653, 3: 3.182446, 4: 2.776445}  # 97.5 % of Student's t, by degrees of freedom


def runs_of(folder: Path, name: str, finals: dict[int, float]) -> list[Path]:
    """Three epochs each, of which the last has top-1 `finals[seed]`."""
    return [
        write_run(folder / f"{name}-seed{seed}", name, seed, [final / 2, final - seed, final])
        for seed, final in finals.items()
    ]


A, B = {0: 70.0, 1: 72.5, 2: 71.0, 3: 75.5, 4: 70.25}, {0: 69.0, 1: 72.0, 2: 70.75, 3: 71.5}


def test_bands_are_mean_and_sample_deviation(tmp_path: Path) -> None:
    (kind,) = kinds_of(read_runs([*runs_of(tmp_path, "a", A)]))
    values = np.array([[final / 2, final - seed, final] for seed, final in A.items()])
    epochs, means, spreads = band(kind.curve("val", "top1"))
    assert epochs == [0, 1, 2] and (kind.name, kind.seeds) == ("a", [0, 1, 2, 3, 4])
    np.testing.assert_allclose(means, values.mean(0), rtol=1e-14)
    np.testing.assert_allclose(spreads, values.std(0, ddof=1), rtol=1e-14)
    ((place, mean, spread),) = ranked([kind])
    assert (place, mean, spread) == (0, means[2], spreads[2])


def test_a_band_has_the_epochs_that_all_seeds_have(tmp_path: Path) -> None:
    runs = runs_of(tmp_path, "a", {0: 70.0, 1: 72.0})
    without_val(runs[1], {0: 1.0, 2: 2.0})
    (kind,) = kinds_of(read_runs([*runs]))
    assert [*kind.curve("val", "top1")] == [0, 2] and [*kind.curve("train", "top1")] == [0, 1, 2]
    assert kind.curve("val", "cross_entropy") == {}, "of an earlier version"


def test_one_seed_has_no_deviation(tmp_path: Path) -> None:
    kinds = kinds_of(read_runs(runs_of(tmp_path, "a", {0: 70.0}) + runs_of(tmp_path, "b", B)))
    assert [(place, spread is None) for place, _, spread in ranked(kinds)] == [
        (1, False),
        (0, True),
    ]
    assert band(kinds[0].curve("val", "top1"))[2] == [0, 0, 0]


@pytest.mark.parametrize("seeds", [0, 1, 2, 3, 4])
def test_pairs_have_one_seed(tmp_path: Path, seeds: int) -> None:
    """Only seeds in common count, in whatever order the runs are given."""
    a = runs_of(tmp_path, "a", A)
    b = runs_of(tmp_path, "b", {7: 99.0, **{seed: B[seed] for seed in range(seeds)}})
    first, second = kinds_of(read_runs([*a, *b[::-1]]))
    found = difference(first, second)
    d = np.array([A[seed] - B[seed] for seed in range(seeds)])
    assert found.seeds == seeds
    if seeds == 0:
        assert (found.mean, found.margin) == (None, None)
        return
    assert found.mean == pytest.approx(d.mean())
    if seeds < 3:
        assert found.margin is None and "fewer than 3" in found.words
    else:
        assert found.margin == pytest.approx(
            T[seeds - 1] * d.std(ddof=1) / np.sqrt(seeds), rel=1e-6
        )


@pytest.mark.parametrize(("shift", "words"), [(5.0, "better"), (-5.0, "worse"), (0.0, "not clear")])
def test_better_is_said_if_the_interval_is_beside_0(
    tmp_path: Path, shift: float, words: str
) -> None:
    other = {0: 60.2, 1: 60.9, 2: 62.1}
    mine = {seed: value + shift + (-1) ** seed * 0.5 for seed, value in other.items()}
    kinds = kinds_of(read_runs(runs_of(tmp_path, "a", mine) + runs_of(tmp_path, "b", other)))
    assert difference(*kinds).words.startswith(words)


def test_the_command_compares_with_a_baseline(tmp_path: Path) -> None:
    runs = runs_of(tmp_path, "a", A) + runs_of(tmp_path, "b", B)
    report = ("train/report.py", *runs, "--out", tmp_path / "x.png", "--against")
    done = run(*report, runs[-1])
    lines = done.stdout.splitlines()
    assert lines[5] == "against b, runs with the same seed in pairs:"
    mean, spread = np.mean([1, 0.5, 0.25, 4]), np.std([1, 0.5, 0.25, 4], ddof=1)
    low, high = mean - T[3] * spread / 2, mean + T[3] * spread / 2
    assert cells(lines[9])[:4] == ["a", "4", f"{mean:+.2f}", f"{low:+.2f} to {high:+.2f}"]
    require_refused(
        run(*report, tmp_path / "c", check=False),
        "--against must name one of the runs", "give it among the runs",
    )  # fmt: skip
