"""Pieces: whole chunks, and an order in which every part of an epoch has some from everywhere."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.epochs.reading_order import piece_rows, spread_order
from shared.formats.zarr_arrays import layouts
from tests.small_cache import make_manifest

STAGES, MAPS = (64, 128, 256, 512), {"map1": (64, 56, 56), "map4": (512, 7, 7)}


@pytest.mark.parametrize(
    ("fields", "least", "rows"),
    [
        (["map1"], 1, 16),  # a chunk of 6.4 MB
        (["map1"], 20 << 20, 64),
        (["channels"], 1, 1024),  # a chunk of 2.0 MB
        (["channels"], 4 << 20, 4096),
        (["channels"], 1 << 30, 8192),  # a block
        (["map1", "channels"], 1, 32),  # with 16, a chunk of channels is decoded for a 64th of it
        (["map4", "channels"], 1, 256),
    ],
)
def test_a_piece_is_made_of_whole_chunks(fields: list[str], least: int, rows: int) -> None:
    manifest = make_manifest(100_000, 8192, channels=STAGES, added=MAPS)
    found = piece_rows(manifest, fields, least)
    assert found == rows
    assert found % min(layout.chunk for layout in layouts(manifest, fields).values()) == 0


@given(st.integers(1, 300), st.integers(1, 40), st.integers(0, 2**63), st.integers(0, 1000))
def test_every_part_of_the_reading_order_has_pieces_from_everywhere(
    count: int, rounds: int, seed: int, epoch: int
) -> None:
    order = spread_order(count, rounds, seed, epoch).tolist()
    assert sorted(order) == list(range(count))
    # Each part has one piece of every group of `rounds` consecutive pieces. A last group that is
    # smaller has none in some parts, and is left out here.
    full = count // rounds
    groups = [piece // rounds for piece in order if piece < full * rounds]
    for start in range(0, len(groups), max(1, full)):
        assert sorted(groups[start : start + full]) == list(range(full))


def test_the_order_is_random() -> None:
    """12 pieces in 3 parts, 3000 epochs: every piece is as often in each of the 12 places."""
    orders = np.stack([spread_order(12, 3, 5, epoch) for epoch in range(3000)])
    for place in range(12):
        counts = np.bincount(orders[:, place], minlength=12)
        assert (abs(counts - 250) < 5 * 16).all(), counts
    assert len({tuple(order) for order in orders.tolist()}) > 2990
