"""Faults that a cache must survive: many processes killed, a full disk, any flipped bit."""

import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from precompute.integrity import find_damage
from shared.errors import InputError
from shared.images.source import open_source
from shared.store.opening import FORMATS, open_cache
from tests.halting import GO
from tests.helpers import (
    require_refused,
    run,
    run_precompute,
    snapshot,
    write_image_folder,
    write_teacher,
)
from tests.processes import Started, start, start_halting

KILLS = 50


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
            3,
            "--batch-size",
            7,
            "--views",
            4,
        ),
    )


def start_all(processes: int, *flags: object) -> list[Started]:
    return [
        start(
            *("precompute/run.py", "--split", "train", *flags),
            RANK=str(rank),
            WORLD_SIZE=str(processes),
        )
        for rank in range(processes)
    ]


@pytest.mark.parametrize("store", ["zarr", pytest.param("webdataset", marks=pytest.mark.slow)])
def test_bytes_do_not_depend_on_the_number_of_processes(
    tmp_path: Path, inputs: tuple[object, ...], store: str
) -> None:
    flags = (*inputs, "--format", store)
    run_precompute(*flags, "--cache", tmp_path / "one")
    for process in start_all(3, *flags, "--cache", tmp_path / "three"):
        done = process.wait()
        assert done.returncode == 0, done.stderr
    assert snapshot(tmp_path / "three") == snapshot(tmp_path / "one")


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 3])
@pytest.mark.parametrize("store", FORMATS)
def test_50_kills(tmp_path: Path, inputs: tuple[object, ...], store: str, processes: int) -> None:
    """Of one process, or of a random one of three; the others go on and lose nothing."""
    flags = (*inputs, "--format", store)
    run_precompute(*flags, "--cache", tmp_path / "whole")
    killed = tmp_path / "killed"
    draw = random.Random(f"{store} {processes}")
    hits = 0
    while hits < KILLS:
        if (killed / "train").is_dir() and len(list((killed / "train").rglob("*.json"))) > 50:
            shutil.rmtree(killed)  # nearly finished: the next kills would come too late
        group = start_all(processes, *flags, "--cache", killed)
        time.sleep(draw.uniform(0, 2.5))
        victim = draw.choice(group)
        if victim.alive:
            victim.signal(signal.SIGKILL)
        codes = [process.wait().returncode for process in group]
        assert set(codes) <= {0, -signal.SIGKILL}
        hits += codes.count(-signal.SIGKILL)
    for process in start_all(processes, *flags, "--cache", killed):
        assert process.wait().returncode == 0
    assert snapshot(killed) == snapshot(tmp_path / "whole")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 256 KiB; needs the right to mount."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("no right to mount a tmpfs here; test_local_files.py injects ENOSPC instead")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("store", ["zarr", pytest.param("webdataset", marks=pytest.mark.slow)])
def test_a_disk_that_fills_up(
    tmp_path: Path, inputs: tuple[object, ...], small_disk: Path, store: str
) -> None:
    """Somebody else fills it after the check for free space; then makes room again."""
    flags = (*inputs, "--format", store)
    run_precompute(*flags, "--cache", tmp_path / "whole")
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    cache = small_disk / "cache"
    ballast = small_disk / "ballast"
    process = start_halting(
        *("*/train/receipts/*", 1, tmp_path / "halted"),
        *("precompute/run.py", "--split", "train", *flags, "--cache", cache),
    )
    subprocess.run(["dd", "if=/dev/zero", f"of={ballast}", "bs=4k"], capture_output=True)
    process.signal(GO)
    done = process.wait()
    require_refused(done, "cannot be written: No space left on device")
    finished = open_cache(cache, "train")
    there = [unit for unit in finished.units() if finished.is_done(*unit)]
    receipts = list(cache.glob("train/receipts/*.json"))
    assert 0 < len(there) == len(receipts) < 64, "a torn block counts as done, or none was lost"
    ballast.unlink()
    again = run_precompute(*flags, "--cache", cache)
    assert f"{len(there)} of 64 blocks are there" in again.stdout
    assert snapshot(cache) == snapshot(tmp_path / "whole")


def test_too_little_space_is_refused_before_the_teacher_runs(
    inputs: tuple[object, ...], small_disk: Path
) -> None:
    done = run_precompute(*inputs, "--cache", small_disk / "cache", check=False)
    require_refused(done, "the disk has no room for the cache", "are free")
    assert not list(small_disk.glob("cache/train/receipts/*"))


@pytest.mark.parametrize("store", FORMATS)
@pytest.mark.parametrize("codec", ["half", "tiny"])
def test_a_flipped_bit_in_any_file_is_found(
    tmp_path: Path, inputs: tuple[object, ...], store: str, codec: str
) -> None:
    cache = tmp_path / "cache"
    flags = ("--format", store, "--codec", codec, "--views", 1, "--limit", 7)
    run_precompute(*inputs, *flags, "--cache", cache)
    source = open_source(str(inputs[1]), "train", limit=7)
    # What the index of receipts holds counts only as far as it is right: see tests/receipts.
    files = [p for p in sorted(cache.rglob("*")) if p.is_file() and p.name != "receipts.index"]
    assert len(files) > 6
    draw = random.Random(0)
    for path in files:
        whole = path.read_bytes()
        for position in {0, len(whole) - 1, draw.randrange(len(whole))}:
            damaged = bytearray(whole)
            damaged[position] ^= 1 << draw.randrange(8)
            path.write_bytes(damaged)
            try:
                found = bool(find_damage(open_cache(cache, "train"), source))
            except InputError:  # the manifest itself: nothing can be opened
                found = path.name == "manifest.json"
            assert found, (path, position)
        path.write_bytes(whole)
    assert not find_damage(open_cache(cache, "train"), source)
    path = draw.choice([path for path in files if path.suffix != ".json"])
    path.write_bytes(path.read_bytes()[:-1])
    done = run("precompute/verify.py", "--cache", cache, "--samples", 0, check=False)
    assert done.returncode == 1 and path.name in done.stderr
