"""Runs whose targets do not fit into memory: stopped inside an epoch, and started again."""

import signal
from pathlib import Path

import pytest
import torch

from shared.store.opening import open_cache
from shared.targets.codecs import num_bytes
from tests.helpers import STUDENT, require_refused
from tests.processes import Finished, start, wait_until
from tests.resuming import make_cache
from tests.runs import load, require_same_run

BLOCK, BATCH, WINDOW = 2, 2, 9  # of 12 samples
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cache(tmp_path_factory.mktemp("cache"), BLOCK)


def command(cache: Path, out: Path) -> tuple[object, ...]:
    """Six steps an epoch. Saves at steps 2, 4 and 6, and after the epoch."""
    return (
        *("tests/outside.py", "train/run.py", *STUDENT, "--cache", cache, "--out", out),
        *("--epochs", 2, "--batch-size", BATCH, "--lr", 0.02, "--checkpoint-every", 2),
    )


def environment(cache: Path, window: int) -> dict[str, str]:
    fields = open_cache(cache, "train").manifest.encoding.fields()
    row = num_bytes({name: fields[name] for name in ("channels", "logits")})
    return {"WINDOW": str(window * row)}


def train(cache: Path, out: Path, window: int = WINDOW) -> Finished:
    return start(*command(cache, out), **environment(cache, window)).wait()  # type: ignore[arg-type]


def halted(cache: Path, out: Path, saves: int, number: int) -> Finished:
    """It gets a signal as soon as it has saved so often."""
    note = out.with_name(f"{out.name} {saves}")
    halting = ("tests/halting.py", "*/last.pt", saves, note, *command(cache, out))
    process = start(*halting, **environment(cache, WINDOW))  # type: ignore[arg-type]
    wait_until(lambda: note.exists() or not process.alive)
    process.signal(number)
    return process.wait()


def test_a_run_that_was_stopped_inside_an_epoch_goes_on_as_if_it_was_not(
    cache: Path, tmp_path: Path
) -> None:
    assert train(cache, tmp_path / "whole").returncode == 0
    out = tmp_path / "stopped"
    assert halted(cache, out, 1, signal.SIGTERM).returncode == 128 + signal.SIGTERM
    saved = load(out / "last.pt")
    assert saved["epoch"] == 0 and saved["step"] > 0 and saved["layout"] == [WINDOW, BLOCK]

    # With another window, or in an epoch of a version that had other windows, it is refused.
    before = (out / "last.pt").read_bytes()
    require_refused(
        train(cache, out, window=10),
        "epoch 0 was begun with a window of 9 samples in pieces of 2, and this run has a window "
        "of 10 samples in pieces of 2: the rest of the epoch would have other samples; finish",
    )
    assert (out / "last.pt").read_bytes() == before
    torch.save({**saved, "layout": []}, out / "last.pt")
    require_refused(
        train(cache, out),
        "epoch 0 was begun with whole views or windows of an earlier version, and this run has a "
        "window of 9 samples",
    )

    (out / "last.pt").write_bytes(before)
    done = train(cache, out)
    assert done.returncode == 0, done.stderr
    require_same_run(out, tmp_path / "whole")


def test_between_epochs_a_run_of_an_earlier_version_goes_on(cache: Path, tmp_path: Path) -> None:
    """Nothing is left of the order that its windows had."""
    assert train(cache, tmp_path / "whole").returncode == 0
    out = tmp_path / "old"
    halted(cache, out, 4, signal.SIGKILL)
    saved = load(out / "last.pt")
    assert (saved["epoch"], saved["step"]) == (1, 0)
    torch.save({**saved, "layout": []}, out / "last.pt")
    done = train(cache, out)
    assert done.returncode == 0 and "going on at epoch 1" in done.stdout, done.stderr
    require_same_run(out, tmp_path / "whole")
