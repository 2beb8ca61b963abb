"""--keep N: which checkpoints of epochs are kept, and that a run goes on from one of them."""

import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from shared.errors import InputError
from tests.helpers import run, run_train
from tests.processes import start_halting
from tests.resuming import flags
from tests.runs import FILES, load, metrics, require_equal
from train.checkpoint import run_of
from train.flags import make_parser
from train.folder import RunFolder
from train.run_recipe import recipe_of


def kept(out: Path) -> list[str]:
    return sorted(path.name for path in (out / "epochs").iterdir())


def names(*epochs: int) -> list[str]:
    return [f"epoch-{epoch:04}.pt" for epoch in epochs]


def state(epoch: int, step: int = 0) -> dict[str, Any]:
    return {"epoch": epoch, "step": step}


def test_the_last_epochs_are_kept(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.save_checkpoint(state(1), keep=0)
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]
    for finished in range(1, 6):
        folder.save_checkpoint(state(finished - 1, step=4), keep=3)
        folder.save_checkpoint(state(finished), keep=3)
    assert kept(tmp_path) == names(2, 3, 4)
    assert load(tmp_path / "epochs" / "epoch-0004.pt") == load(tmp_path / "last.pt") == state(5)
    folder.save_checkpoint(state(6), keep=2)
    assert kept(tmp_path) == names(4, 5)
    (tmp_path / "epochs" / "epoch-best.pt").touch()  # the user's own
    folder.save_checkpoint(state(7), keep=0)
    assert kept(tmp_path) == [*names(4, 5), "epoch-best.pt"]
    # Back to epoch 2: those of later epochs are no reason to remove the new ones.
    for finished in (3, 4):
        folder.save_checkpoint(state(finished), keep=1)
        assert kept(tmp_path) == [*names(finished - 1, 4, 5), "epoch-best.pt"]
    # After ten thousand epochs, numbers are longer and still sorted.
    folder.save_checkpoint(state(10_000), keep=2)
    folder.save_checkpoint(state(10_001), keep=2)
    assert kept(tmp_path) == ["epoch-10000.pt", "epoch-9999.pt", "epoch-best.pt"]


def test_a_run_goes_on_from_a_kept_epoch(cache: Path, whole: Path, tmp_path: Path) -> None:
    """Copied to last.pt, as docs/scale.md says; the end is that of the run, bit for bit."""
    assert kept(whole) == names(1, 2)
    require_equal(load(whole / "epochs" / "epoch-0002.pt"), load(whole / "last.pt"))
    assert load(whole / "epochs" / "epoch-0001.pt")["epoch"] == 2
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    shutil.copy(out / "epochs" / "epoch-0001.pt", out / "last.pt")
    done = run_train(*flags(cache, out, "cached"), "--ema", 0.5)
    assert f"{out}: going on at epoch 2 of 3, step 0" in done.stdout
    require_equal(load(out / "last.pt"), load(whole / "last.pt"))
    assert metrics(out) == metrics(whole)
    assert kept(out) == names(1, 2)


def test_a_kept_epoch_is_evaluated_as_the_run_is(whole: Path, tmp_path: Path) -> None:
    """Its averaged weights, with the run.json of the run: in the folder above, or beside it."""
    last = whole / "epochs" / "epoch-0002.pt"
    evaluated = run("train/eval.py", "--checkpoint", last).stdout
    assert evaluated.startswith(f"val: 6 images, top-1 {metrics(whole)[-1]['top1']:.2f}%, ")
    for name in ("run.json", "epochs/epoch-0002.pt"):
        shutil.copy(whole / name, tmp_path)
    assert run_of(tmp_path / "epoch-0002.pt") == run_of(last) == run_of(whole / "last.pt")
    (tmp_path / "run.json").unlink()
    with pytest.raises(InputError, match=r"epoch-0002.pt has no run.json beside it"):
        run_of(tmp_path / "epoch-0002.pt")


@pytest.mark.parametrize("halts_at", ["epochs/epoch-0001.pt", "best.pt"])
@pytest.mark.slow
def test_killed_while_an_epoch_is_saved(
    cache: Path, whole: Path, tmp_path: Path, halts_at: str
) -> None:
    out = tmp_path / "run"
    command = (*flags(cache, out, "cached"), "--ema", 0.5, "--keep", 2)
    process = start_halting(f"*/{halts_at}", 1, tmp_path / "note", "train/run.py", *command)
    process.signal(signal.SIGKILL)
    assert process.wait().returncode == -signal.SIGKILL
    run_train(*command)
    require_equal(load(out / "last.pt"), load(whole / "last.pt"))
    require_equal(load(out / "best.pt"), load(whole / "best.pt"))
    assert metrics(out) == metrics(whole) and kept(out) == names(1, 2)
    assert sorted(path.name for path in out.iterdir()) == sorted([*FILES, "epochs"])


def test_a_number_below_0() -> None:
    with pytest.raises(InputError, match="--keep must be 0 or more: got -1"):
        recipe_of(make_parser().parse_args(["--keep", "-1"]))
