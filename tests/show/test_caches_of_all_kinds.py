"""Pages of caches that lack something: a note says what, and the rest is there."""

import argparse
from pathlib import Path

import numpy as np
import pytest

from precompute.show import make_parser
from precompute.shown import show
from shared.store.stored_views import stored_views
from tests.self_contained import Read, cells, read_page
from tests.show.caches import NAMES, SAMPLES, WRONG, make
from tests.small_cache import make_keys, make_manifest
from tests.stores import every_format

NO_PICTURES = "as the images of the cache were not found; --images says where they are"


def flags_of(cache: Path, out: Path, *flags: str) -> argparse.Namespace:
    return make_parser().parse_args(["--cache", str(cache), "--out", str(out), *flags])


def page_of(folder: Path, *flags: str) -> Read:
    assert show(flags_of(folder, folder / "page.html", *flags)) == 0
    return read_page((folder / "page.html").read_text())


def test_without_images_the_page_has_the_numbers(tmp_path: Path) -> None:
    make(tmp_path)
    page = page_of(tmp_path, "--samples", "2")
    assert page.text.count(NO_PICTURES) == 1
    assert len(page.images) == 3 + 2  # plots alone
    worst = page.table("image", "label", "teacher's answer")
    assert worst[0][:4] == [make_keys(SAMPLES)[WRONG], NAMES[2], "cat", "3 of 3"]
    losses = list(map(float, cells(worst, 4)))
    assert len(losses) == 24 and losses == sorted(losses, reverse=True)
    assert "2 images do not decode and were left out" in page.text


def test_view_shards_have_pictures_of_their_own(tmp_path: Path) -> None:
    cache = make(tmp_path, "webdataset", left_out=())
    page = page_of(tmp_path, "--index", str(WRONG), "--view", "2")
    assert page.text.count(NO_PICTURES) == 1 and "source, " not in page.text
    assert len(page.images) == 3 + 24 + 1 + 1
    assert (
        f"label: newt\nteacher: cat (3 of 3)\nloss 9.00\n{make_keys(SAMPLES)[WRONG]}" in page.text
    )
    (seen,) = stored_views(cache, 2, None, [WRONG]).values()
    view = np.asarray(page.images[-2].convert("RGB"))
    assert np.array_equal(view[:: len(view) // 8, :: len(view) // 8], seen.permute(1, 2, 0).numpy())


@pytest.mark.parametrize("store", ["zarr", pytest.param("webdataset", marks=pytest.mark.slow)])
def test_an_incomplete_cache(tmp_path: Path, store: str) -> None:
    make(tmp_path, store, until=2)
    page = page_of(tmp_path, "--samples", "0")
    assert "of its 3 views only 0 to 1 can be shown" in page.text
    assert list(cells(page.table("view", "images"), 0)) == ["0", "1"]


@pytest.mark.parametrize("lacking", ["logits", "channels"])
def test_a_cache_without_a_kind(tmp_path: Path, lacking: str) -> None:
    make(tmp_path, targets=("channels" if lacking == "logits" else "logits",))
    page = page_of(tmp_path, "--samples", "1")
    what = {"logits": "the cache has no logits", "channels": "the cache has no channel means"}
    assert what[lacking] in page.text
    assert len(page.images) == {"logits": 1 + 1, "channels": 3}[lacking]
    assert ("Are these labels wrong?" in page.text) == (lacking == "channels")


@pytest.mark.slow
def test_a_teacher_of_other_classes(tmp_path: Path) -> None:
    source = make_manifest(SAMPLES).source
    make(tmp_path, source=source.__class__(source.spec, SAMPLES, source.digest, (*NAMES, "owl")))
    page = page_of(tmp_path, "--samples", "1")
    assert "the teacher has 3 classes and the images have 4" in page.text
    assert "right" not in page.tables[1][0] and "class 0" in page.text


@pytest.mark.slow
def test_a_damaged_channels_json_is_a_note(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "train" / "channels.json").write_text("{}")
    assert (
        "how the channel means are distributed, cannot be used"
        in page_of(tmp_path, "--samples", "0").text
    )


@pytest.mark.slow
def test_a_page_of_forty_samples_stays_small(tmp_path: Path) -> None:
    make(tmp_path, "webdataset")
    page_of(tmp_path, "--samples", "40")  # all that there are
    assert (tmp_path / "page.html").stat().st_size < 5 << 20


@pytest.mark.slow
@every_format
def test_a_cache_in_an_object_store(s3: str, tmp_path: Path, store: str) -> None:
    make(s3, store)
    out = tmp_path / "page.html"
    parsed = make_parser().parse_args(["--cache", s3, "--out", str(out), "--samples", "2"])
    assert show(parsed) == 0
    page = read_page(out.read_text())
    make(tmp_path / "local", store)
    local = page_of(tmp_path / "local", "--samples", "2")
    assert page.tables[1:] == local.tables[1:] and len(page.images) == len(local.images)
