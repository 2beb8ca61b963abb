"""What precompute shows while it fills a cache: the banner, and a bar that moves by batch."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from precompute import fill
from precompute.banner import banner
from precompute.job import Job, make_job
from precompute.skips import Skips
from shared.distributed import World
from shared.records.block import Work
from shared.records.identity import cache_id
from shared.store.opening import create_cache
from tests.helpers import TEACHER, write_teacher
from tests.test_job import parse


@pytest.fixture
def job(image_folder: Path, tmp_path: Path) -> Job:
    write_teacher(tmp_path / "teacher.pt", "cifar_resnet20", 3)
    flags = ("--images", image_folder, *TEACHER, "--size", 32, "--views", 2)
    return make_job(parse(*flags, "--weights", tmp_path / "teacher.pt", "--device", "cpu"))


def test_the_bar_moves_by_batch_and_not_by_block(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moves: list[int] = []

    class Bar:
        def __init__(self, **shown: Any) -> None:
            self.total = shown["total"]

        def __enter__(self) -> "Bar":
            return self

        def __exit__(self, *error: object) -> None:
            assert sum(moves) == self.total

        def update(self, images: int) -> None:
            moves.append(images)

    monkeypatch.setattr(fill, "tqdm", Bar)
    source = job.source
    cache = create_cache(tmp_path / "c", job.manifest, source.labels, source.keys, job.teacher.head)
    assert [len(cache.manifest.rows(block)) for _, block in cache.units()] == [12, 12]
    todo = [Work(*unit) for unit in cache.units()]
    fill.fill(cache, replace(job, batch_size=5, workers=0), todo, Skips(None, 12))
    assert moves == [5, 5, 5, 5, 2, 2]  # two views, batch by batch


def test_the_banner_says_what_from_where_to_where_and_how_much(job: Job, tmp_path: Path) -> None:
    source = job.source
    cache = create_cache(tmp_path / "c", job.manifest, source.labels, source.keys, job.teacher.head)
    todo = [Work(1, 0)]
    teacher, images, to, blocks = banner(job, cache, todo, 2, World()).splitlines()
    weights = tmp_path / "teacher.pt"
    assert teacher == (
        f"teacher  cifar_resnet20 (stem cifar, {weights}), fp32 on cpu, 0 decoding processes"
    )
    assert images == f"from     {source.spec}, train: 12 images of 3 classes"
    # float16: 3 logits and 112 means; box, flip and argmax
    most = 12 * 2 * (2 * (3 + 16 + 32 + 64) + 16 + 1 + 4)
    assert to == (
        f"to       {tmp_path}/c/train: zarr, codec half, 2 views of 32 px (random-resized-crop), "
        f"at most {most / 1000:.3g} kB; cache {cache_id(cache.manifest)}"
    )
    assert blocks == "blocks   1 of 2 blocks are there, 1 to make, up to 12 images each"
    added = [Work(0, 0, ("map3", "attention3")), Work(1, 0, ("map3",))]
    for lacking, told in (
        ([], "2 of 2 blocks are there, 0 to make"),
        (added, "2 of 2 blocks are there, attention3 and map3 to add to 2"),
        ([*todo, added[0]], "1 of 2 blocks are there, 1 to make, attention3 and map3 to add to 1"),
    ):
        last = banner(job, cache, lacking, 2, World()).splitlines()[-1]
        assert last == f"blocks   {told}, up to 12 images each"
    several = banner(job, cache, todo, 2, World(3, 8, 3)).splitlines()
    assert several[0].endswith("0 decoding processes, process 3 of 8")
