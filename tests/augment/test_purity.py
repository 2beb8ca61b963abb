"""Pixels are a pure function of (policy, seed, view, sample): workers, batches, order, threads and
partners that do not decode change nothing."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from shared.errors import BadImage
from shared.images.source import ImageSource, open_source
from shared.loaders.pixel_loader import Draw, PixelBatch, PixelLoader, Replay, Request
from shared.pixels.augment import augmented
from shared.pixels.augmentation import parse_augmentation
from shared.pixels.decode import image_size
from shared.pixels.mix import draw_mix, mixed
from shared.pixels.policy import draw_view
from shared.pixels.seen import Views
from shared.pixels.view import ViewPolicy, apply, stored_view
from tests.augment.conftest import ALL, SAMPLES, SIZE, Made

HOW = parse_augmentation(ALL)
POLICY = ViewPolicy("random-resized-crop", augmentation=HOW)
SEED, NUMBER = 7, 3


@pytest.fixture(scope="module")
def source(made: Made) -> ImageSource:
    return open_source(str(made.images), "train")


@pytest.fixture
def views(source: ImageSource) -> Views:
    return Views(POLICY, SIZE, SEED, NUMBER, source.read, SAMPLES)


def slow(source: ImageSource, index: int) -> Tensor:
    """The reference, without mixing: one step after the other."""
    data = source.read(index)
    image = apply(draw_view(POLICY, SIZE, SEED, NUMBER, index, *image_size(data)), data, SIZE)
    return augmented(HOW, image, SEED, NUMBER, index)


def test_a_view_is_its_box_augmented_and_mixed_with_its_partners(
    source: ImageSource, views: Views
) -> None:
    kinds = set()
    for index in range(SAMPLES):
        seen, own = views.draw(index), slow(source, index)
        mix = draw_mix(HOW, SEED, NUMBER, index, SAMPLES, SIZE)
        assert seen.mix == mix
        expected = own if mix is None else mixed(mix, own, slow(source, mix.partner))
        assert torch.equal(seen.pixels, expected)
        kinds.add(mix and (mix.box is None))
    assert kinds >= {True, False}, "both MixUp and CutMix are needed here"


def test_without_augmentation_pixels_are_as_ever(source: ImageSource) -> None:
    plain = Views("random-resized-crop", SIZE, SEED, NUMBER, source.read, SAMPLES)
    for index in range(SAMPLES):
        data = source.read(index)
        view = draw_view("random-resized-crop", SIZE, SEED, NUMBER, index, *image_size(data))
        seen = plain.draw(index)
        assert (seen.view, seen.mix) == (view, None)
        assert torch.equal(seen.pixels, apply(view, data, SIZE))


def test_a_replayed_view_has_the_pixels_that_were_drawn(views: Views) -> None:
    for index in range(SAMPLES):
        drawn = views.draw(index)
        box = (drawn.view.top, drawn.view.left, drawn.view.height, drawn.view.width)
        stored = stored_view(POLICY, box, drawn.view.flip)
        for skipped in (None, frozenset[int]()):
            seen = views.replay(index, stored, skipped)
            assert torch.equal(seen.pixels, drawn.pixels) and seen.mix == drawn.mix


def by_sample(batches: Iterator[PixelBatch]) -> dict[int, tuple[bytes, int, float]]:
    """Sample -> (pixels, partner, share)."""
    found = {}
    for batch in batches:
        assert batch.partner is not None and batch.share is not None and not batch.bad
        rows = zip(
            batch.index.tolist(), batch.pixels, batch.partner.tolist(), batch.share.tolist(),
            strict=True,
        )  # fmt: skip
        for index, pixels, partner, share in rows:
            found[index] = (pixels.numpy().tobytes(), partner, share)
    return found


def test_workers_batches_and_order_do_not_matter(source: ImageSource) -> None:
    draw = Draw(POLICY, SEED, NUMBER)
    one = PixelLoader((source,), SIZE, workers=0, pin_memory=False)
    expected = by_sample(one.batches([Request(0, np.arange(SAMPLES), draw)]))
    shuffled = np.random.default_rng(0).permutation(SAMPLES)
    two = PixelLoader((source,), SIZE, workers=2, pin_memory=False)
    for size in (1, 7):
        parts = [Request(0, part, draw) for part in np.split(shuffled, range(size, SAMPLES, size))]
        assert by_sample(two.batches(parts)) == expected
    assert len({pixels for pixels, _, _ in expected.values()}) == SAMPLES
    shares = [share for _, _, share in expected.values()]
    assert 0 <= min(shares) < 0.5 < max(shares) <= 1


def test_another_seed_or_number_gives_other_pixels(source: ImageSource, views: Views) -> None:
    for seed, number in ((SEED + 1, NUMBER), (SEED, NUMBER + 1)):
        other = Views(POLICY, SIZE, seed, number, source.read, SAMPLES)
        same = [
            torch.equal(other.draw(index).pixels, views.draw(index).pixels)
            for index in range(SAMPLES)
        ]
        assert not any(same)


def test_threads_do_not_matter() -> None:
    """Contrast divides by a mean, whose last bits depend on the threads where a view is large."""
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 600, 600), np.uint8))
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append([augmented(HOW, pixels, 0, 0, index) for index in range(6)])
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert all(map(torch.equal, *found))


def test_a_view_whose_partner_does_not_decode_is_not_mixed(source: ImageSource) -> None:
    views = Views(POLICY, SIZE, SEED, NUMBER, source.read, SAMPLES)
    index = next(i for i in range(SAMPLES) if views.draw(i).mix is not None)
    before = views.draw(index)
    assert before.mix is not None
    bad = before.mix.partner
    damaged = Views(
        POLICY, SIZE, SEED, NUMBER, lambda i: b"" if i == bad else source.read(i), SAMPLES
    )
    drawn = damaged.draw(index)
    assert drawn.mix is None and torch.equal(drawn.pixels, slow(source, index))
    for skipped in (None, frozenset({bad})):
        replayed = damaged.replay(index, before.view, skipped)
        assert replayed.mix is None and torch.equal(replayed.pixels, drawn.pixels)
    # A partner that decoded when the cache was made
    with pytest.raises(BadImage, match=f"^sample {bad}, with which it is mixed: zero bytes$"):
        damaged.replay(index, before.view, frozenset())
    # and one that is there again
    assert torch.equal(views.replay(index, before.view, frozenset({bad})).pixels, drawn.pixels)


def test_the_loader_replays_with_the_seed_the_number_and_the_skipped(source: ImageSource) -> None:
    loader = PixelLoader((source,), SIZE, workers=0, pin_memory=False)
    index = np.arange(SAMPLES)
    (drawn,) = loader.batches([Request(0, index, Draw(POLICY, SEED, NUMBER))])
    stored = drawn.box.numpy(), drawn.flip.numpy()
    (same,) = loader.batches([Request(0, index, Replay(POLICY, *stored, SEED, NUMBER))])
    assert torch.equal(same.pixels, drawn.pixels) and torch.equal(same.box, drawn.box)
    everyone = frozenset(range(SAMPLES))
    (alone,) = loader.batches([Request(0, index, Replay(POLICY, *stored, SEED, NUMBER, everyone))])
    assert alone.partner is not None and (alone.partner == alone.index).all()
    assert alone.share is not None and (alone.share == 1).all()
    assert not torch.equal(alone.pixels, drawn.pixels)


def test_a_source_of_one_image_is_not_mixed(image_folder: Path) -> None:
    source = open_source(str(image_folder), "train", limit=1)
    assert Views(POLICY, SIZE, 0, 0, source.read, 1).draw(0).mix is None
