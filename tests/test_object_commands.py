"""The commands with a cache in an object store, also where it dies, and where they are killed."""

import random
import re
import signal
import time
from pathlib import Path

import pytest
import torch

from tests.fault_proxy import Fault, FaultProxy
from tests.helpers import STUDENT, require_refused, run, write_teacher
from tests.processes import Finished, Started, start
from tests.s3 import (
    ALWAYS,
    FORMATS,
    environment,
    new_url,
    on_disk,
    put_object,
    require_sound,
    stored,
)


@pytest.fixture(scope="session")
def job(image_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    """Flags of a precompute run that takes seconds: 12 images, 2 views, blocks of 4."""
    weights = tmp_path_factory.mktemp("teacher") / "teacher.pt"
    write_teacher(weights, "cifar_resnet20", 3)
    return (
        *("--split", "train", "--images", image_folder, "--weights", weights),
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
        *("--workers", 0, "--targets", "logits,channels,attention2"),
    )


@pytest.fixture(scope="session")
def whole(job: tuple[object, ...], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The local cache that all must equal, by format."""
    folders = {store: tmp_path_factory.mktemp("whole") / store for store in FORMATS}
    for store, folder in folders.items():
        run("precompute/run.py", *job, "--format", store, "--cache", folder)
    return folders


def run_on_s3(proxy: FaultProxy, script: str, *flags: object, check: bool = True) -> Finished:
    return run("tests/impatient.py", script, *flags, check=check, **environment(proxy.url))


@pytest.mark.parametrize("store", ["zarr", pytest.param("webdataset", marks=pytest.mark.slow)])
def test_the_commands_do_on_s3_what_they_do_on_disk(
    proxy: FaultProxy,
    server: int,
    tmp_path: Path,
    image_folder: Path,
    job: tuple[object, ...],
    whole: dict[str, Path],
    store: str,
) -> None:
    """Precompute, verify, train with loader workers; with a fault every ten requests or so."""
    proxy.faults += [Fault("status", 503, ALWAYS, every=23), Fault("drop", 99, ALWAYS, every=19)]
    url = new_url()
    done = run_on_s3(proxy, "precompute/run.py", *job, "--format", store, "--cache", url)
    assert f"to       {url}/train: {store}, codec half, 2 views" in done.stdout
    assert done.stderr == ""
    assert stored(server, url) == on_disk(whole[store])
    verified = run_on_s3(proxy, "precompute/verify.py", "--cache", url)
    assert f"{url}/train: verified" in verified.stdout

    flags = (*STUDENT, "--images", image_folder, "--epochs", 2, "--batch-size", 5, "--workers", 2)
    run_on_s3(proxy, "train/run.py", "--cache", url, *flags, "--out", tmp_path / "s3")
    run("train/run.py", "--cache", whole[store], *flags, "--out", tmp_path / "disk")
    mine, theirs = (
        torch.load(tmp_path / name / "last.pt", weights_only=True)["student"]
        for name in ("s3", "disk")
    )
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert sum(fault.hits for fault in proxy.faults) > 10
    assert stored(server, url) == on_disk(whole[store]), "training wrote to the cache"


def test_the_store_dies_under_precompute(
    proxy: FaultProxy, server: int, job: tuple[object, ...], whole: dict[str, Path]
) -> None:
    """At some moments of its run, in requests and in uploads: one line, exit code 2, a sound cache;
    then it goes on from there."""
    url = new_url()
    counts = []
    for dies_at, torn in ((0, False), (70, True), (120, False)):
        proxy.reset()
        proxy.dies_at, proxy.torn = dies_at, torn
        done = run_on_s3(proxy, "precompute/run.py", *job, "--cache", url, check=False)
        require_refused(
            done, "the store does not answer", url, "failed 6 times", "same command again"
        )
        counts.append(require_sound(server, url))
    assert counts[0] == 0 and sorted(counts) == counts and 0 < counts[-1] < 12, counts
    there = [path for path in stored(server, url) if re.search(r"-b\d+\.json$", path)]
    proxy.reset()
    done = run_on_s3(proxy, "precompute/run.py", *job, "--cache", url)
    assert f"{len(there)} of 6 blocks are there" in done.stdout
    assert stored(server, url) == on_disk(whole["zarr"])


@pytest.mark.parametrize("store", FORMATS)
def test_the_store_dies_under_training(
    proxy: FaultProxy, tmp_path: Path, whole: dict[str, Path], server: int, store: str
) -> None:
    """In an epoch: one line, of the main process (zarr) or of a loader worker (webdataset)."""
    url = new_url()
    for path, data in on_disk(whole[store]).items():
        put_object(server, f"/{url.removeprefix('s3://')}/{path}", data)
    flags = (*STUDENT, "--cache", url, "--epochs", 4, "--batch-size", 5, "--workers", 1)
    flags += ("--out", tmp_path / "run")
    reads = []

    def second_view(method: str, path: str) -> bool:
        """Its blocks, once the pixels of its first and last have been compared at the start."""
        if method == "GET" and ("/shards/v0001-b" in path or "/channels/c/1/" in path):
            reads.append(path)
        return len(reads) > (2 if store == "webdataset" else 0)

    proxy.faults.append(Fault("status", 500, ALWAYS, wants=second_view))
    done = run_on_s3(proxy, "train/run.py", *flags, check=False)
    require_refused(done, "error: the store does not answer", url)


# Slow: real waits, real kills, large objects


@pytest.mark.slow
def test_kill_9_at_random_instants_on_s3(
    proxy: FaultProxy, server: int, job: tuple[object, ...], whole: dict[str, Path]
) -> None:
    draw = random.Random(0)
    url = new_url()
    hits = 0
    for instant in sorted(draw.uniform(0, 90) for _ in range(12)):
        proxy.reset()
        process: Started = start(
            *("tests/impatient.py", "precompute/run.py", *job, "--cache", url),
            **environment(proxy.url),
        )
        while process.alive and len(proxy.requests) < instant:
            time.sleep(0.001)
        if process.alive:
            process.signal(signal.SIGKILL)
        hits += process.wait().returncode == -signal.SIGKILL
        require_sound(server, url)
    assert hits >= 8
    run_on_s3(proxy, "precompute/run.py", *job, "--cache", url)
    assert stored(server, url) == on_disk(whole["zarr"])


@pytest.mark.slow
@pytest.mark.parametrize("fault", [Fault("status", 503, ALWAYS), Fault("delay", 40, ALWAYS)])
def test_a_broken_store_ends_a_command_within_two_minutes(
    proxy: FaultProxy, job: tuple[object, ...], fault: Fault
) -> None:
    proxy.faults.append(fault)
    started = time.monotonic()
    flags = (*job, "--cache", new_url())
    done = run("precompute/run.py", *flags, check=False, **environment(proxy.url))
    require_refused(done, "the store does not answer")
    assert 7 < time.monotonic() - started < 120
