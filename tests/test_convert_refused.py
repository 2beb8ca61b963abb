"""Conversions that are refused, in one line, write nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest

from shared.store.opening import FORMATS
from tests.converting import convert, flip_bit, make_pair, require_done
from tests.helpers import require_refused, snapshot
from tests.small_cache import make_block, make_cache, make_manifest, open_empty, put


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of random numbers: exact and half, zarr; link -> exact."""
    folder = tmp_path_factory.mktemp("caches")
    make_pair(folder)
    (folder / "link").symlink_to("exact")
    return folder


@pytest.mark.parametrize("to", ["exact", "half/../exact", "link", "file://exact"])
def test_the_same_place(caches: Path, to: str) -> None:
    before = snapshot(caches)
    protocol, separator, path = to.rpartition("file://")
    to = f"{protocol}{separator}{caches}/{path}"
    done = convert(caches / "exact", to, "half")
    require_refused(done, f"--cache and --to are both {to}, but a conversion makes another cache")
    assert snapshot(caches) == before


@pytest.mark.parametrize(
    ("old", "new"),
    [("exact", "exact"), ("half", "exact"), ("half", "half")],
)
def test_codecs_that_would_add_errors(caches: Path, tmp_path: Path, old: str, new: str) -> None:
    require_refused(
        convert(caches / old, tmp_path / "new", new),
        f"{old} cannot be converted to {new}, as ",
        "(exact to half or compact or tiny, half to compact or tiny, compact to tiny)",
        f": run precompute/run.py --codec {new}",
    )
    assert snapshot(tmp_path) == {}


@pytest.mark.parametrize("store", FORMATS)
def test_an_incomplete_cache(tmp_path: Path, store: str) -> None:
    manifest = make_manifest(codec="exact", store=store)
    cache = open_empty(tmp_path / "old", manifest)
    for unit in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 2)]:
        put(cache, make_block(manifest, *unit))
    require_refused(
        convert(tmp_path / "old", tmp_path / "new", "half"),
        f"the cache {tmp_path}/old/train is incomplete: block 1 of view 1 is missing; ",
    )
    assert not (tmp_path / "new").exists()


LABEL = "targets.zarr/label/c/1"
DAMAGES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "lost labels": (LABEL, Path.unlink, "/train are missing or damaged ("),
    "bit of labels": (LABEL, flip_bit, "/train are missing or damaged ("),
    "no bytes of labels": (LABEL, lambda path: path.write_bytes(b""), f"{LABEL} does not"),
    "lost metadata": ("targets.zarr/zarr.json", Path.unlink, "targets.zarr/zarr.json does not"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache(tmp_path: Path, damage: str) -> None:
    make_pair(tmp_path)
    path, spoil, text = DAMAGES[damage]
    spoil(tmp_path / "exact" / "train" / path)
    done = convert(tmp_path / "exact", tmp_path / "new", "half")
    require_refused(done, text, "run the same precompute/run.py command again")
    assert not (tmp_path / "new").exists()


def test_a_damaged_block_is_not_converted(tmp_path: Path) -> None:
    make_pair(tmp_path)
    whole = snapshot(tmp_path / "exact")
    path = tmp_path / "exact/train/targets.zarr/logits/c/1/1/0"
    flip_bit(path)
    require_refused(
        convert(tmp_path / "exact", tmp_path / "new", "half"),
        f"{path} is damaged: it has ",
    )
    flip_bit(path)
    assert snapshot(tmp_path / "exact") == whole
    require_done(convert(tmp_path / "exact", tmp_path / "new", "half"), 2)
    assert snapshot(tmp_path / "new") == snapshot(tmp_path / "half")


def test_places_that_cannot_be_used(caches: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    make_cache(tmp_path / "other", make_manifest(codec="half", seed=8))
    before = snapshot(tmp_path)
    old, nowhere = caches / "exact", tmp_path / "nowhere"
    for done, text in (
        (convert(nowhere, tmp_path / "new", "half"), f"{nowhere} does not exist; check"),
        (
            convert(old, tmp_path / "file", "half"),
            f"{tmp_path}/file/train/manifest.json cannot be written: ",
        ),
        (
            convert(old, tmp_path / "other", "half"),
            "other/train was made with seed 8 and this run asks for 7",
        ),
        (convert(old, "tape://x", "half"), "there is no fsspec driver for tape://x"),
        (convert(old, tmp_path / "new", "half", "--split", "val"), "--cache must hold val/"),
    ):
        require_refused(done, text)
    assert snapshot(tmp_path) == before
