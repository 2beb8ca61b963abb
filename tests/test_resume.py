"""A run that is stopped and started again ends with the bits of one that never stopped."""

import json
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.helpers import run_train, start, start_halting, write_image_folder
from tests.resuming import EPOCHS, MODES, PLAIN, VIEWS, cache, flags
from tests.runs import load, metrics, require_same_run
from train.run_files import read_metrics

__all__ = ["cache"]  # fixtures of the tests below


@pytest.fixture(scope="module", params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def whole(cache: Path, mode: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was never stopped."""
    out = tmp_path_factory.mktemp("whole") / mode
    run_train(*flags(cache, out, mode))
    return out


def kill(draw: random.Random, seconds: float, *arguments: object) -> bool:
    """True where SIGKILL hit a running process: at a random instant, up to so many seconds after
    it finished an epoch."""
    out = Path(str(arguments[arguments.index("--out") + 1]))
    before = num_finished(out)
    process = start("train/run.py", *arguments)
    while process.alive and num_finished(out) == before:
        time.sleep(0.01)
    time.sleep(draw.uniform(0, seconds))
    if process.alive:
        process.signal(signal.SIGKILL)
    done = process.wait()
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


def num_finished(run: Path) -> int:
    """Epochs that are told of in metrics.jsonl, train and val each a line."""
    return len(read_metrics(run)) // 2


@pytest.fixture(scope="module")
def halfway(cache: Path, mode: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was killed twice: while it began, and after epoch 0."""
    out = tmp_path_factory.mktemp("halfway") / mode
    # An epoch writes last.pt twice: after its steps, and after val.
    for number, (file, count) in enumerate((("run.json", 1), ("last.pt", 2))):
        process = start_halting(
            *(f"*/{file}", count, out.with_name(f"halted{number}")),
            *("train/run.py", *flags(cache, out, mode)),
        )
        process.signal(signal.SIGKILL)
        assert process.wait().returncode == -signal.SIGKILL
    return out


def test_an_uninterrupted_run_is_what_it_should_be(whole: Path, mode: str) -> None:
    state, records = load(whole / "last.pt"), metrics(whole)
    assert state["epoch"] == EPOCHS
    assert [(record["epoch"], record["split"]) for record in records] == [
        (epoch, split) for epoch in range(EPOCHS) for split in ("train", "val")
    ]
    train, val = records[::2], records[1::2]
    assert [record["view"] for record in train] == [epoch % VIEWS for epoch in range(EPOCHS)]
    assert state["best_top1"] == max(record["top1"] for record in val)
    assert len({record["total"] for record in train}) == EPOCHS, "it does not learn"
    assert set(train[0]["loss"]) == ({"ce"} if mode == "none" else {"ce", "gkd", "cd"})
    for record in train:
        weighted = [record["weight"][name] * loss for name, loss in record["loss"].items()]
        assert record["total"] == pytest.approx(sum(weighted), rel=1e-5)


def test_killed_three_times_it_ends_the_same(
    cache: Path, whole: Path, halfway: Path, mode: str, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(halfway, out)
    seconds = sum(record["seconds"] for record in read_metrics(whole)) / EPOCHS
    # In whatever comes next: one of the files, steps, val.
    kill(random.Random(mode), seconds, *flags(cache, out, mode))
    done = run_train(*flags(cache, out, mode))
    assert f"{out}: going on at epoch " in done.stdout
    require_same_run(out, whole)


def test_metrics_without_their_checkpoint_are_not_kept_twice(
    cache: Path, whole: Path, halfway: Path, mode: str, tmp_path: Path
) -> None:
    """The state of a run that was killed between metrics.jsonl and last.pt."""
    out = tmp_path / "run"
    shutil.copytree(halfway, out)
    epoch = load(out / "last.pt")["epoch"]
    assert 0 < epoch < EPOCHS
    lines = (whole / "metrics.jsonl").read_text().splitlines(keepends=True)
    ahead = [line for line in lines if json.loads(line)["epoch"] <= epoch]
    assert len(ahead) == 2 * epoch + 2
    (out / "metrics.jsonl").write_text("".join(ahead))
    shutil.copy(whole / "best.pt", out / "best.pt")
    done = run_train(*flags(cache, out, mode))
    assert f"{out}: going on at epoch {epoch} of {EPOCHS}" in done.stdout
    require_same_run(out, whole)


@pytest.mark.slow
def test_without_a_cache_it_resumes_too(tmp_path: Path) -> None:
    """Views are drawn then, of another number each epoch; 224 px, so of few images."""
    write_image_folder(tmp_path / "images", classes=2, train=1, val=1)

    def arguments(out: Path) -> tuple[object, ...]:
        images = ("--images", tmp_path / "images", "--batch-size", 2, "--epochs", 2)
        return (*PLAIN, *images, "--lr", 0.02, "--out", out)

    run_train(*arguments(tmp_path / "whole"))
    assert kill(random.Random(0), 0, *arguments(tmp_path / "killed"))
    run_train(*arguments(tmp_path / "killed"))
    require_same_run(tmp_path / "killed", tmp_path / "whole")
    train = metrics(tmp_path / "whole")[::2]
    assert [record["view"] for record in train] == [None, None]
