"""--validate-every: which epochs are validated, and what copes with those that are not."""

import json
import re
import signal
from pathlib import Path

import pytest

from tests.helpers import require_refused, run, run_train
from tests.processes import start_halting
from tests.resuming import cache, flags
from tests.runs import load, metrics, require_same_run
from train.run_files import read_metrics
from train.validation import is_due

__all__ = ["cache"]  # a fixture of the tests below

EVERY = ("--epochs", 4, "--validate-every", 3, "--ema", 0.5)
RECORDS = [(0, "train"), (1, "train"), (2, "train"), (2, "val"), (3, "train"), (3, "val")]


@pytest.fixture(scope="module")
def whole(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A run, and what it printed of its epochs."""
    out = tmp_path_factory.mktemp("whole") / "run"
    done = run_train(*flags(cache, out, "none"), *EVERY)
    return out, [line for line in done.stdout.splitlines() if line.startswith("epoch ")]


@pytest.mark.parametrize(
    ("epochs", "every", "due"),
    [(5, 1, [0, 1, 2, 3, 4]), (5, 2, [1, 3, 4]), (4, 2, [1, 3]), (3, 7, [2]), (1, 1, [0])],
)
def test_every_so_many_epochs_and_the_last_one(epochs: int, every: int, due: list[int]) -> None:
    assert [epoch for epoch in range(epochs) if is_due(epoch, epochs, every)] == due


def test_a_run_has_the_records_and_lines_of_what_it_validated(
    whole: tuple[Path, list[str]],
) -> None:
    out, lines = whole
    records = metrics(out)
    assert [(record["epoch"], record["split"]) for record in records] == RECORDS
    assert ["val top-1" in line for line in lines] == [False, False, True, True]
    val = [record for record in records if record["split"] == "val"]
    assert load(out / "last.pt")["best_top1"] == max(record["top1"] for record in val)
    judged, raw = val[0], val[0]["raw"]
    assert (
        f"val top-1 {judged['top1']:.2f}% top-5 {judged['top5']:.2f}% "
        f"(raw weights {raw['top1']:.2f}% {raw['top5']:.2f}%), "
    ) in lines[2]
    assert re.search(r"images/s, about [\d.]+ (ms|s|min) left$", lines[0]), lines[0]


@pytest.mark.slow
def test_it_is_no_part_of_the_results(
    cache: Path, whole: tuple[Path, list[str]], tmp_path: Path
) -> None:
    """A run that was validated in every epoch has the same weights; its best epoch may differ."""
    run_train(*flags(cache, tmp_path / "run", "none"), *EVERY, "--validate-every", 1)
    mine, theirs = metrics(tmp_path / "run"), metrics(whole[0])
    assert [record for record in mine if record in theirs] == theirs
    for name in ("student", "average"):
        one, other = (load(out / "last.pt")[name] for out in (tmp_path / "run", whole[0]))
        assert all(one[key].equal(other[key]) for key in one)
    identities = [json.loads((out / "run.json").read_text())["identity"]
                  for out in (tmp_path / "run", whole[0])]  # fmt: skip
    assert identities[0] == identities[1]


def test_it_resumes_after_an_epoch_without_a_val_record(
    cache: Path, whole: tuple[Path, list[str]], tmp_path: Path
) -> None:
    """Killed when the end of epoch 0 is saved, the second last.pt."""
    process = start_halting(
        *("*/last.pt", 2, tmp_path / "halted"),
        *("train/run.py", *flags(cache, tmp_path / "run", "none"), *EVERY),
    )
    process.signal(signal.SIGKILL)
    process.wait()
    assert [record["split"] for record in read_metrics(tmp_path / "run")] == ["train"]
    done = run_train(*flags(cache, tmp_path / "run", "none"), *EVERY)
    assert "going on at epoch 1 of 4, step 0" in done.stdout
    require_same_run(tmp_path / "run", whole[0])


def test_every_zero_is_refused(cache: Path, tmp_path: Path) -> None:
    arguments = flags(cache, tmp_path / "run", "none")
    done = run("train/run.py", *arguments, "--validate-every", 0, check=False)
    require_refused(done, "--validate-every must be above 0: got 0")
