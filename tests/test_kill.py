"""Kill precompute at any instant, start it again: the cache ends byte for byte the same.

Twice: the command itself under SIGKILL at random instants, and the store alone, stopped dead
before every single one of its file operations.
"""

import os
import random
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.formats import zarr_format
from shared.records.block import Block
from shared.records.manifest import Manifest
from tests.helpers import run, run_precompute, snapshot, write_image_folder, write_teacher
from tests.processes import start, start_halting
from tests.small_cache import make_block, make_cache, make_manifest, open_empty, put

KILLS = 20
EARLY = 0.2  # of them: before or shortly after the first block of a life
BLOCKS = 24  # 48 images in blocks of 4, 2 views


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    folder = tmp_path_factory.mktemp("inputs")
    write_image_folder(folder / "images", classes=6, train=8, val=1)
    write_teacher(folder / "teacher.pt", "cifar_resnet20", 6)
    return (
        *("--images", folder / "images", "--weights", folder / "teacher.pt"),
        *(
            "--teacher",
            "cifar_resnet20",
            "--size",
            32,
            "--block",
            4,
            "--batch-size",
            7,
            "--views",
            2,
        ),
    )


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_kill_9_at_random_instants(
    tmp_path: Path, inputs: tuple[object, ...], workers: int
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    receipts = killed / "train" / "receipts"
    run_precompute(*inputs, "--cache", whole)
    expected = snapshot(whole)
    started = time.perf_counter()
    run_precompute(*inputs, "--cache", whole, "--workers", workers)
    start_seconds = time.perf_counter() - started
    assert snapshot(whole) == expected, "with nothing to do it changed something"

    # Instants count finished blocks, so that they hit on slow and busy machines too; then a random
    # wait, so that they hit anything between two blocks, and the start. A command that came to its
    # end first begins from nothing, and is killed the next time.
    draw = random.Random(0)
    hits, tries, there = 0, 0, 0
    while hits < KILLS:
        tries += 1
        assert tries < 5 * KILLS, "nearly every kill comes too late"
        early = draw.random() < EARLY
        instant = 0.0 if early else there + draw.uniform(0, 2.5 * BLOCKS / KILLS)
        process = start(
            "precompute/run.py",
            *("--split", "train", *inputs, "--cache", killed, "--workers", workers),
        )
        while process.alive and num_files(receipts) < instant:
            time.sleep(0.001)
        process.ends_within(draw.uniform(0, start_seconds if early else 0.1))
        process.signal(signal.SIGKILL)
        done = process.wait()
        assert done.returncode in (-signal.SIGKILL, 0), done.stderr
        if done.returncode == 0:
            assert snapshot(killed) == expected
            shutil.rmtree(killed)
            there = 0
            continue
        hits += 1
        assert num_files(receipts) >= there, "a kill lost a finished block"
        there = num_files(receipts)

    last = run_precompute(*inputs, "--cache", killed)
    assert f"{there} of {BLOCKS} blocks are there" in last.stdout
    assert snapshot(killed) == expected
    verified = run("precompute/verify.py", "--cache", killed, "--samples", 16)
    assert f"{BLOCKS} of {BLOCKS} blocks intact" in verified.stdout


def test_ctrl_c_is_one_line_and_loses_nothing(tmp_path: Path, inputs: tuple[object, ...]) -> None:
    receipts = tmp_path / "train" / "receipts"
    command = ("precompute/run.py", "--split", "train", *inputs, "--cache", tmp_path)
    process = start_halting("*/train/receipts/*", 2, tmp_path / "halted", *command, "--workers", 1)
    process.signal(signal.SIGINT)
    done = process.wait()
    assert done.returncode == 128 + signal.SIGINT, done.stderr
    (line,) = done.stderr.splitlines()
    kept = r"finished blocks are kept, \d+ views of the open ones are not"
    assert re.fullmatch(
        rf"stopped by Ctrl-C: {kept}; the same command resumes where it stopped", line
    )
    process.require_none_left()
    there = num_files(receipts)
    last = run(*command)
    assert f"{there} of {BLOCKS} blocks are there" in last.stdout and there < BLOCKS


def num_files(folder: Path) -> int:
    return len(os.listdir(folder)) if folder.is_dir() else 0


class Killed(BaseException):
    """Caught nowhere, and nothing is written after it."""


class Life:
    """File operations from now on; all after the first `operations` raise Killed."""

    def __init__(self, patch: pytest.MonkeyPatch, operations: int | None) -> None:
        self.done = 0
        self._allowed = operations
        for name in ("link", "unlink", "mkdir", "rmdir", "replace"):
            patch.setattr(os, name, self._counted(getattr(os, name)))
        patch.setattr(os, "fsync", self._counted(lambda descriptor: None))  # it takes long

    def _counted(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def operation(*arguments: Any, **options: Any) -> Any:
            if self.done == self._allowed:
                raise Killed
            self.done += 1
            return real(*arguments, **options)

        return operation


@pytest.mark.parametrize(
    ("store", "codec", "views_before"),
    [("zarr", "compact", 0), ("zarr", "half", 1), ("webdataset", "half", 0)],
)
def test_stopped_before_every_file_operation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str, codec: str, views_before: int
) -> None:
    manifest = make_manifest(samples=4, block=4, views=2, store=store, codec=codec)
    expected = snapshot(make_cache(tmp_path / "whole", manifest).files.root)
    for name in ("encode", "metadata"):  # with zarr they take long
        remembered = remember(getattr(zarr_format, name))
        monkeypatch.setattr(zarr_format, name, remembered)

    def live(folder: Path, views: int, operations: int | None) -> Life:
        """What precompute/run.py does to the disk."""
        with monkeypatch.context() as patch:
            life = Life(patch, operations)
            cache = open_empty(folder, manifest.with_views(views))
            for unit in [unit for unit in cache.units() if not cache.is_done(*unit)]:
                put(cache, make_block(manifest, *unit))
            cache.files.remove_stale()
        return life

    def begin(folder: Path) -> Path:
        if views_before:
            live(folder, views_before, None)
        return folder

    operations = live(begin(tmp_path / "counted"), 2, None).done
    assert operations > 30
    for operation in range(operations):
        folder = begin(tmp_path / str(operation))
        with pytest.raises(Killed):
            live(folder, 2, operation)
        live(folder, 2, None)
        assert snapshot(folder / "train") == expected, operation


def remember(encode: Callable[..., dict[str, bytes]]) -> Callable[..., dict[str, bytes]]:
    """`encode` of a block or of labels and keys, what it gave kept by number of views and block."""
    results: dict[object, dict[str, bytes]] = {}

    def encode_once(manifest: Manifest, what: object, *more: object) -> dict[str, bytes]:
        block = (what.view, what.index) if isinstance(what, Block) else None
        key = (manifest.views, block)
        if key not in results:
            results[key] = encode(manifest, what, *more)
        return results[key]

    return encode_once
