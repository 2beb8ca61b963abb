"""The batches from shared memory are those that the blocks on disk hold, row by row."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from shared.distributed import World
from tests.processes import finish, start_world
from tests.runs import load, require_equal
from tests.small_cache import make_cache, make_manifest
from tests.staging.slow_batches import reference

ROW = 2 * (14 + 3)  # bytes of channels and logits in codec half
SCRIPT = "tests/staging/staged_batches.py"


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("caches")
    make_cache(folder / "three", make_manifest(samples=61, block=8, views=3))
    make_cache(folder / "one", make_manifest(samples=61, block=8, views=1))
    return folder


def run_world(
    cache: Path, out: Path, size: int, machines: int, *flags: object
) -> list[list[dict[str, Any]]]:
    out.mkdir(exist_ok=True)
    finish(start_world(size, SCRIPT, cache, out, *flags, machines=machines))
    return [load(out / f"{rank}.pt") for rank in range(size)]


def reads_of(out: Path, size: int) -> list[Counter[str]]:
    """How often each process read each file of arrays."""
    texts = [(out / f"{rank}.reads").read_text() for rank in range(size)]
    return [Counter(text.splitlines()) for text in texts]


@pytest.mark.parametrize(("size", "machines"), [(1, 1), (2, 1), (4, 2)])
@pytest.mark.parametrize("window", [1 << 20, 24 * ROW], ids=["whole", "pieces"])
def test_every_process_has_its_rows(
    caches: Path, tmp_path: Path, size: int, machines: int, window: int
) -> None:
    """Three epochs of three views; of a slice of the samples at a time, too."""
    found = run_world(caches / "three", tmp_path, size, machines, "--epochs", 3, "--window", window)
    steps = [(epoch, step) for epoch in range(3) for step in range(7)]
    for rank, mine in enumerate(found):
        require_equal(mine, reference(caches / "three", World(rank, size), window, steps))
    reads = reads_of(tmp_path, size)
    for rank, files in enumerate(reads):
        if rank % (size // machines):
            assert not files, "a process reads beside the one that reads for its machine"
        else:  # 5 arrays of 8 blocks in 3 views
            assert len(files) == 3 * 8 * 5 and set(files.values()) == {1}
    for epoch in range(3):
        seen = [i for mine in found for b in mine if b["epoch"] == epoch for i in b["index"]]
        assert sorted(seen) == sorted({*range(61)} - {3, 5})


@pytest.mark.parametrize("machines", [1, 2])
def test_a_cache_of_one_view(caches: Path, tmp_path: Path, machines: int) -> None:
    """It is kept in memory; on several machines each has other samples in every epoch."""
    found = run_world(caches / "one", tmp_path, 2, machines, "--epochs", 4)
    steps = [(epoch, step) for epoch in range(4) for step in range(7)]
    for rank, mine in enumerate(found):
        require_equal(mine, reference(caches / "one", World(rank, 2), 1 << 20, steps))
    reads = reads_of(tmp_path, 2)
    assert set(reads[0].values()) == {1 if machines == 1 else 4}
    assert reads[1] == (reads[0] if machines == 2 else Counter())


@pytest.mark.parametrize("window", [1 << 20, 24 * ROW], ids=["whole", "pieces"])
def test_a_run_begins_in_the_middle(caches: Path, tmp_path: Path, window: int) -> None:
    """As one that is resumed; and it leaves an epoch before its end."""
    flags = ("--epochs", 3, "--at", "1,4", "--until", 6, "--window", window)
    found = run_world(caches / "three", tmp_path, 2, 1, *flags)
    steps = [(1, 4), (1, 5), *((2, step) for step in range(6))]
    for rank, mine in enumerate(found):
        require_equal(mine, reference(caches / "three", World(rank, 2), window, steps))
