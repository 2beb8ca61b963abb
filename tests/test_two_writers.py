"""Two processes that start one cache, or add views to it, in the same moment."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from shared.files.local import LocalFiles
from shared.records.manifest import Manifest
from shared.store import opening as cache_module
from shared.store.opening import FORMATS, Cache, keep_additions, open_cache
from shared.store.static_files import check_static
from tests.helpers import TEACHER, snapshot, write_image_folder, write_teacher
from tests.processes import finish, start
from tests.small_cache import make_keys, make_labels, make_manifest, open_empty

ARRAYS = ("logits", "channels", "box", "flip", "pred")


class KilledError(Exception):
    """In place of kill -9."""


@dataclass
class Halting:
    """The files of writer A, who stops before operation `at` until another has run to its end."""

    files: LocalFiles
    at: int
    other: Callable[[], object]
    end: int | None = None  # the operation before which A is killed
    operations: list[str] = field(default_factory=list)

    @property
    def root(self) -> Path:
        return self.files.root

    def __getattr__(self, name: str) -> Any:
        real = getattr(self.files, name)

        def operation(*arguments: Any) -> Any:
            self.operations.append(f"{name} {arguments[0] if arguments else ''}")
            if len(self.operations) - 1 == self.at:
                self.other()
            if len(self.operations) - 1 == self.end:
                raise KilledError
            return real(*arguments)

        return operation


def require_whole(folder: Path, views: int) -> None:
    """Manifest and arrays agree on the number of views, and nothing else was lost."""
    cache = open_cache(folder, "train")
    assert cache.manifest.views == views
    if cache.manifest.format == "zarr":
        for name in ARRAYS:
            facts = json.loads(cache.files.read(f"targets.zarr/{name}/zarr.json"))
            assert facts["shape"][0] == views, name
    check_static(cache, make_labels(), make_keys())


def interleaved(
    monkeypatch: pytest.MonkeyPatch, folder: Path, at: int, mine: Manifest, theirs: Manifest
) -> tuple[list[str], Cache, Cache]:
    """Operations of A, who wants `mine`, and both caches; B wants `theirs` and runs inside."""
    real = cache_module.open_files
    others: list[Cache] = []

    def run_other() -> None:
        with monkeypatch.context() as inner:
            inner.setattr(cache_module, "open_files", real)
            others.append(open_empty(folder, theirs))

    halting = Halting(LocalFiles(folder / "train"), at, run_other)
    with monkeypatch.context() as patch:
        patch.setattr(cache_module, "open_files", lambda *_: halting)
        made = open_empty(folder, mine)
    if not others:
        run_other()
    return halting.operations, made, others[0]


@pytest.mark.parametrize("store", FORMATS)
@pytest.mark.parametrize(
    ("first", "mine", "theirs"),
    [
        (0, 1, 2),
        pytest.param(0, 2, 1, marks=pytest.mark.slow),
        pytest.param(1, 2, 3, marks=pytest.mark.slow),
        (1, 3, 2),
    ],
)
def test_wherever_one_stops_the_other_may_run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    store: str,
    first: int,
    mine: int,
    theirs: int,
) -> None:
    """`first`: views there before, 0: no cache."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # hundreds of them
    open_empty(tmp_path / "alone", make_manifest(store=store, views=max(mine, theirs)))
    alone = snapshot(tmp_path / "alone")
    at, count = 0, 1
    while at < count:
        folder = tmp_path / str(at)
        if first:
            open_empty(folder, make_manifest(store=store, views=first))
        operations, made, other = interleaved(
            monkeypatch,
            folder,
            at,
            make_manifest(store=store, views=mine),
            make_manifest(store=store, views=theirs),
        )
        found = open_cache(folder, "train").manifest.views
        require_whole(folder, found)
        assert found >= mine and made.manifest.views >= mine
        # A manifest that was written last by the one with fewer views is raised when blocks are
        # done; then nothing of either is missing.
        for cache in (made, other):
            cache.files = LocalFiles(folder / "train")
            keep_additions(cache)
        require_whole(folder, max(mine, theirs))
        assert snapshot(folder) == alone
        at, count = at + 1, len(operations)
    assert at >= (10 if store == "zarr" else 4)


ADDED: dict[str, tuple[int, ...]] = {"attention1": (4,), "map2": (3, 2, 2)}


@pytest.mark.parametrize("store", FORMATS)
@pytest.mark.parametrize(("mine", "theirs"), [("attention1", "map2"), ("map2", "attention1")])
def test_two_that_add_kinds_in_the_same_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str, mine: str, theirs: str
) -> None:
    """Wherever one stops the other may run: in the end the cache has both kinds."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    whole = make_manifest(store=store, added=ADDED)
    open_empty(tmp_path / "alone", whole)
    alone = snapshot(tmp_path / "alone")
    at, count = 0, 1
    while at < count:
        folder = tmp_path / str(at)
        open_empty(folder, make_manifest(store=store))
        wanted = [make_manifest(store=store, added={name: ADDED[name]}) for name in (mine, theirs)]
        operations, made, other = interleaved(monkeypatch, folder, at, *wanted)
        for cache in (made, other):
            cache.files = LocalFiles(folder / "train")
            keep_additions(cache)
        assert open_cache(folder, "train").manifest == whole
        assert snapshot(folder) == alone
        at, count = at + 1, len(operations)
    assert at >= 4


def test_one_is_killed_and_the_other_ends_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wants fewer views, has seen a manifest of as many, and ends between two of its writes."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    fewer, more = make_manifest(views=1), make_manifest(views=2)
    real = cache_module.open_files
    end, killed = 10, True  # those before only read
    while killed:
        folder = tmp_path / str(end)
        open_empty(folder, fewer)
        others: list[Cache] = []

        def run_other(folder: Path = folder, others: list[Cache] = others) -> None:
            with monkeypatch.context() as inner:
                inner.setattr(cache_module, "open_files", real)
                others.append(open_empty(folder, more))

        halting = Halting(LocalFiles(folder / "train"), 3, run_other, end=4 + end)
        with monkeypatch.context() as patch:
            patch.setattr(cache_module, "open_files", lambda *_, files=halting: files)
            try:
                open_empty(folder, fewer)
                killed = False
            except KilledError:
                pass
        assert halting.operations[:3] == [
            "remove_stale ",
            "write_new manifest.json",
            "read manifest.json",
        ]
        keep_additions(others[0])
        require_whole(folder, 2)
        end += 1
    assert end > 15


def test_processes_with_other_numbers_of_views(tmp_path: Path) -> None:
    """Real ones, at once, on one new cache: it ends as if it had been made with the most views."""
    write_image_folder(tmp_path / "images", classes=3, train=4, val=1)
    write_teacher(tmp_path / "teacher.pt", "cifar_resnet20", 3)

    def flags(cache: str, views: int) -> tuple[object, ...]:
        return (
            *("precompute/run.py", "--split", "train", "--images", tmp_path / "images"),
            *(*TEACHER, "--weights", tmp_path / "teacher.pt", "--size", 32),
            *("--block", 4, "--batch-size", 4, "--workers", 0),
            *("--cache", tmp_path / cache, "--views", views),
        )

    finish([start(*flags("shared", views)) for views in (1, 3, 2)])  # type: ignore[arg-type]
    finish([start(*flags("alone", 3))])  # type: ignore[arg-type]
    assert snapshot(tmp_path / "shared") == snapshot(tmp_path / "alone")
