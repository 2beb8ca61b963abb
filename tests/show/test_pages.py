"""The page of a cache with its images: one file, with the pixels of the product and its numbers."""

import csv

import numpy as np
from PIL import Image

from precompute.show import make_parser
from precompute.shown import gather
from shared.store.opening import open_cache
from shared.store.stored_views import stored_views
from tests.self_contained import cells
from tests.show.conftest import Shown


def gathered(shown: Shown, *flags: str) -> object:
    parsed = make_parser().parse_args(["--samples", "4", "--seed", "3", *flags])
    return gather(open_cache(shown.world.cache, "train"), parsed)


def test_the_page_is_one_small_file_with_all_its_parts(shown: Shown) -> None:
    # three plots, 20 thumbnails; and for each of 4 samples: source, view, plot of its channels
    assert len(shown.page.images) == 3 + 20 + 4 * 3
    assert len(shown.text) < 5 << 20
    for text in ("What the teacher says", "Are these labels wrong?", "Single views", "guided"):
        assert text in shown.page.text
    assert shown.page.tags.count("section") == 4
    for line in ("views    0 to 1 of 20 samples", f"picture: {shown.picture}"):
        assert line in shown.stdout


def test_accuracy_is_that_of_the_stored_answers(shown: Shown) -> None:
    cache, labels = open_cache(shown.world.cache, "train"), shown.world.source.labels
    right = [np.mean(cache.read_view(view, ["pred"])["pred"] == labels) for view in (0, 1)]
    expected = [f"{100 * share:.2f} %" for share in right]
    table = shown.page.table("view", "images", "right", "guided")
    assert list(cells(table, 2)) == list(cells(table, 3)) == expected
    assert f"the label in {np.mean(right):.2%} of the views" in shown.page.text
    assert f"{np.mean(right):.2%} right, {np.mean(right):.2%} guided" in shown.stdout


def test_a_view_has_the_pixels_that_the_network_sees(shown: Shown) -> None:
    cache = open_cache(shown.world.cache, "train")
    found = gathered(shown)
    pictures = shown.page.images[-4 * 3 :]
    assert [sample.view for sample in found.samples] == [0, 1, 0, 1]
    for number, sample in enumerate(found.samples):
        _, view, _ = pictures[3 * number : 3 * number + 3]
        (seen,) = stored_views(cache, sample.view, shown.world.source, [sample.index]).values()
        assert view.format == "PNG" and view.size == (160, 160)  # each pixel 5 x 5 times
        assert np.array_equal(np.asarray(view)[::5, ::5], seen.permute(1, 2, 0).numpy())
        assert f"{sample.key} (index {sample.index}), view {sample.view}" in shown.page.text
        flips = cache.read_view(sample.view, ["flip"])["flip"]
        assert sample.box.flip == bool(flips[sample.index])
    flipped = sum(sample.box.flip for sample in found.samples)
    assert shown.page.text.count("32 x 32 px\nflipped") == flipped > 0


def test_the_top_five_are_those_of_the_stored_logits(shown: Shown) -> None:
    cache = open_cache(shown.world.cache, "train")
    for sample in gathered(shown).samples:
        logits = cache.read_view(sample.view, ["logits"])["logits"][sample.index].astype(float)
        chances = np.exp(logits) / np.exp(logits).sum()
        order = np.argsort(-chances)
        assert [name for name, _ in sample.top] == [f"class{place}" for place in order]
        np.testing.assert_allclose([chance for _, chance in sample.top], chances[order], rtol=1e-6)
        for _, chance in sample.top:
            assert f"{100 * chance:.1f} %" in shown.page.text
        assert sample.guided == (sample.answer == sample.label)
        means = cache.read_view(sample.view, ["channels"])["channels"][sample.index]
        assert np.array_equal(sample.channels, means.astype(np.float32))


def test_samples_are_those_of_the_seed_or_those_asked_for(shown: Shown) -> None:
    drawn = [[s.index for s in gathered(shown, *f).samples] for f in ((), (), ("--seed", "4"))]
    assert drawn[0] == drawn[1] != drawn[2]
    asked = gathered(shown, "--index", "7", "2", "--view", "1").samples
    assert [(s.index, s.view) for s in asked] == [(7, 1), (2, 1)]


def test_the_picture_and_the_list_are_written_too(shown: Shown) -> None:
    with Image.open(shown.picture) as picture:
        assert picture.format == "PNG" and picture.width == 1300 and picture.height > 1000
        colours = picture.convert("RGB").getcolors(1 << 24)
        assert colours is not None and len(colours) > 500
    rows = list(csv.DictReader(shown.worst.read_text().splitlines()))
    assert len(rows) == 20
    first = f"label: {rows[0]['label']}\nteacher: {rows[0]['answer']} ({rows[0]['votes']} of 2)"
    assert shown.page.text.index(first) < shown.page.text.index(f"label: {rows[-1]['label']}\n")
