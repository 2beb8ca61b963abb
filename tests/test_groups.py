"""Views of a block made together: the groups, and that a cache does not depend on them."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from precompute import groups
from precompute.blocks import _parts
from precompute.fill import fill
from precompute.groups import grouped, most_views, part_of
from precompute.job import Job, make_job
from precompute.skips import Skips
from shared.records.block import Work
from shared.store.opening import create_cache
from tests.helpers import TEACHER, snapshot, write_image_folder, write_teacher
from tests.test_job import parse

works = st.sets(st.tuples(st.integers(0, 60), st.integers(0, 3)), max_size=80)


@given(works, st.integers(1, 20))
def test_groups_are_all_the_work_in_equal_parts(units: set[tuple[int, int]], most: int) -> None:
    todo = [Work(view, block) for view, block in units]
    found = list(grouped(todo, most))
    assert Counter(work for group in found for work in group) == Counter(todo)
    for group in found:
        assert len({work.block for work in group}) == 1 and 1 <= len(group) <= most
        assert list(group) == sorted(group)
    for block in {block for _, block in units}:
        sizes = [len(group) for group in found if group[0].block == block]
        assert max(sizes) - min(sizes) <= 1
        assert len(sizes) == -(-sum(sizes) // most), "fewer groups would do"


def test_ten_views_of_which_eight_fit_are_five_and_five() -> None:
    assert part_of(10, 8) == 5 and part_of(5, 8) == 5
    assert [part_of(left, 4) for left in (10, 6, 3)] == [4, 3, 3]


@given(st.integers(1, 600), st.integers(1, 60))
def test_no_request_is_larger_than_a_batch_of_one_view(rows: int, views: int) -> None:
    group = tuple(Work(view, 0) for view in range(views))
    largest = -(-rows // _parts(group, range(rows)))
    assert largest * views <= max(rows, views), "a batch has as many rows as a group views, or more"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    folder = tmp_path_factory.mktemp("inputs")
    write_image_folder(folder / "images", classes=3, train=8, val=1)
    # The rows of the first block that lie around its middle, so that the middle one moves.
    for number in (1, 3, 4):
        (folder / "images" / "train" / "class0" / f"{number:03d}.jpg").write_bytes(b"no image")
    write_teacher(folder / "teacher.pt", "cifar_resnet20", 3)
    flags = ("--images", folder / "images", *TEACHER, "--weights", folder / "teacher.pt")
    return (*flags, "--size", 32, "--block", 8, "--batch-size", 7, "--views", 5, "--device", "cpu")


def make(folder: Path, job: Job, todo: list[Work] | None = None) -> dict[str, bytes | None]:
    source = job.source
    cache = create_cache(folder, job.manifest, source.labels, source.keys, job.teacher.head)
    if todo is None:
        todo = [Work(*unit, job.manifest.layers) for unit in cache.units()]
    fill(cache, job, todo, Skips(1.0, len(source)))
    return snapshot(folder)


CASES: dict[str, tuple[object, ...]] = {
    "zarr": (),
    "shards": ("--format", "webdataset", "--codec", "exact"),
    "mixed": ("--format", "webdataset", "--augment", "jitter=0.4,mixup=0.2"),
    "layers": ("--targets", "logits,attention,map3"),
}


@pytest.mark.parametrize(
    "case", ["zarr", *(pytest.param(c, marks=pytest.mark.slow) for c in CASES if c != "zarr")]
)
@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_cache_is_the_same_with_any_groups(
    inputs: tuple[object, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    case: str,
    workers: int,
) -> None:
    job = replace(make_job(parse(*inputs, *CASES[case])), workers=workers)
    assert most_views(job) == 7, "as many as a batch has rows"
    expected = make(tmp_path / "five", job)
    for most in (1, 2):
        monkeypatch.setattr("precompute.blocks.most_views", lambda job, most=most: most)
        assert make(tmp_path / str(most), job) == expected


def test_layers_that_only_some_views_lack(inputs: tuple[object, ...], tmp_path: Path) -> None:
    job = make_job(parse(*inputs, "--targets", "logits,attention,map3"))
    expected = make(tmp_path / "whole", job)
    views = range(job.manifest.views)
    first = [Work(view, block, ("", "map3")[: 1 + view % 2]) for view in views for block in (0, 2)]
    make(tmp_path / "parts", job, first)
    made = {(view, block, layer) for view, block, layers in first for layer in layers}
    todo = [
        Work(view, block, tuple(x for x in job.manifest.layers if (view, block, x) not in made))
        for view in views
        for block in range(3)
    ]
    assert len({work.layers for work in todo}) == 3
    assert make(tmp_path / "parts", job, todo) == expected


def test_a_group_has_room_in_memory(
    inputs: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By hand, for ImageNet at 224 px with the default codec and batches of 256."""
    job = make_job(parse(*inputs))
    large = replace(job.manifest, size=224, block=8192)
    row = 2 * (3 + 16 + 32 + 64) + 16 + 1 + 4 + 8
    a_view = 256 * 3 * 224**2 + 2 * 8192 * row
    job = replace(job, manifest=large, batch_size=256)
    assert most_views(job) == groups.MOST_BYTES // a_view > 10
    for budget in (0, 1, a_view, 3 * a_view - 1, 3 * a_view):
        monkeypatch.setattr(groups, "MOST_BYTES", budget)
        assert most_views(job) == max(1, budget // a_view)
