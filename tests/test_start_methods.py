"""Workers started by fork, spawn and forkserver give the same; and they exist before views do."""

import argparse
import multiprocessing
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from shared.epochs.cached_views import CachedViews
from shared.epochs.replayed import Replayed
from shared.images.source import open_source
from shared.loaders.pixel_loader import Draw, PixelLoader, Request
from shared.loaders.shard_loader import ShardLoader
from shared.store.opening import open_cache
from tests.helpers import (
    STUDENT,
    TEACHER,
    run,
    run_precompute,
    run_train,
    write_image_folder,
    write_teacher,
)
from tests.processes import start, wait_until
from tests.runs import require_same_run
from train.flags import add_flags
from train.input import feed_options
from train.setup import make_setup

METHODS = ("fork", "spawn", "forkserver")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    write_image_folder(folder / "images", classes=3, train=8, val=2)
    write_teacher(folder / "teacher.pt", "cifar_resnet20", 3)
    for store in ("zarr", "webdataset"):
        run_precompute(
            *("--images", folder / "images", "--weights", folder / "teacher.pt", "--views", 2),
            *(*TEACHER, "--size", 32, "--block", 6, "--format", store),
            *("--cache", folder / store),
        )
    return folder


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> Iterator[str]:
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method(request.param, force=True)
    yield request.param
    multiprocessing.set_start_method(before, force=True)


def test_the_pixel_loader(made: Path, method: str) -> None:
    """Two calls, so that workers outlive one."""
    source = open_source(str(made / "images"), "train")
    loader = PixelLoader((source,), 32, 1, pin_memory=False)
    for number in range(2):
        draw = Draw("random-resized-crop", 0, number)
        asked = [Request(0, np.arange(first, first + 5), draw) for first in (0, 5)]
        expected = list(PixelLoader((source,), 32, 0, pin_memory=False).batches(asked))
        for mine, theirs in zip(loader.batches(asked), expected, strict=True):
            assert torch.equal(mine.pixels, theirs.pixels) and torch.equal(mine.box, theirs.box)


def test_the_shard_loader(made: Path, method: str) -> None:
    """Two epochs: workers that outlive one learn of the next through shared memory."""
    cache = open_cache(made / "webdataset", "train")
    loader = ShardLoader(cache, ["channels"], 4, 0, 1, False)
    alone = ShardLoader(cache, ["channels"], 4, 0, 0, False)
    for epoch in range(2):
        for mine, theirs in zip(loader.batches(epoch), alone.batches(epoch), strict=True):
            assert torch.equal(mine.index, theirs.index)
            assert torch.equal(mine.pixels, theirs.pixels)
            assert torch.equal(mine.fields["channels"], theirs.fields["channels"])


@pytest.mark.parametrize(
    ("method", "store"),
    [
        pytest.param("spawn", "webdataset", marks=pytest.mark.slow),
        pytest.param("spawn", "zarr", marks=pytest.mark.slow),
        pytest.param("forkserver", "webdataset", marks=pytest.mark.slow),
    ],
)
def test_a_training_run(made: Path, tmp_path: Path, method: str, store: str) -> None:
    flags = (*STUDENT, "--cache", made / store, "--epochs", 2, "--batch-size", 8, "--lr", 0.02)
    done = run(
        *("tests/start_method.py", method, "train/run.py", *flags),
        *("--workers", 1, "--out", tmp_path / method),
    )
    assert done.stderr == ""
    run_train(*flags, "--workers", 1, "--out", tmp_path / "fork")
    require_same_run(tmp_path / method, tmp_path / "fork")


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_group_that_gets_sigterm(made: Path, tmp_path: Path, method: str) -> None:
    """Workers, and the processes that multiprocessing starts beside them, get it too."""
    process = start(
        *("tests/start_method.py", method, "train/run.py", "--cache", made / "webdataset"),
        *(*STUDENT, "--epochs", 40, "--batch-size", 4, "--lr", 0.02, "--workers", 1),
        *("--out", tmp_path),
    )
    wait_until(lambda: (tmp_path / "last.pt").exists() or not process.alive, 200)
    process.signal_group(signal.SIGTERM)
    done = process.wait()
    assert done.returncode == 128 + signal.SIGTERM and "Traceback" not in done.stderr, done.stderr
    process.require_none_left()


def test_workers_exist_before_a_view_is_in_memory(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forked later they would keep its pages for the whole run."""
    workers: list[int] = []
    begin = CachedViews.__init__

    def noted(self: CachedViews, *arguments: Any) -> None:
        workers.append(len(multiprocessing.active_children()))
        begin(self, *arguments)

    monkeypatch.setattr(CachedViews, "__init__", noted)
    parser = argparse.ArgumentParser()
    add_flags(parser)
    flags = [
        *(*STUDENT, "--cache", str(made / "zarr"), "--epochs", "1", "--workers", "2"),
        *("--batch-size", "8"),
    ]
    before = {child.pid for child in multiprocessing.active_children()}
    feed = Replayed(feed_options(make_setup(parser.parse_args(flags))))
    assert len(list(feed.batches(0))) == feed.steps(0)
    feed.close()
    assert workers == [len(before) + 2]
