"""A listing as bytes and back, in part, and with other classes."""

import os

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shared.images import kept_listing
from shared.images.kept_listing import Stamps
from shared.images.listing import Keys, Listing, Places

names = st.lists(st.text(st.characters(blacklist_characters="\0"), min_size=1), max_size=5)


@given(names, names.filter(bool), st.booleans())
def test_bytes_and_back(keys: list[str], classes: list[str], in_tars: bool) -> None:
    keys = [os.fsdecode(key.encode(errors="surrogateescape")) for key in keys if _encodes(key)]
    classes = [name for name in classes if _encodes(name)]
    count = len(keys)
    places = None
    if in_tars:
        places = Places(("a.tar", "b"), np.arange(count, dtype=np.int32), np.arange(count) * 512)
    listing = Listing.make(classes, Keys.pack(keys), [1] * count, range(count), places)
    stamps = Stamps({"/a": "1 2", "/é": "absent"})
    back, then = kept_listing._from_bytes(kept_listing._to_bytes(listing, stamps)[63:])
    assert (list(back.keys), back.classes, back.digest) == (keys, tuple(classes), listing.digest)
    assert back.labels.tolist() == [1] * count and back.sizes.tolist() == list(range(count))
    assert then == stamps and (back.places is None) == (places is None)
    if places is not None and back.places is not None:
        assert back.places.paths == places.paths
        assert back.places.file.tolist() == places.file.tolist()
        assert back.places.offset.tolist() == places.offset.tolist()


def _encodes(name: str) -> bool:
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True


def test_take() -> None:
    listing = Listing.make(["a", "b"], Keys.pack("xyz"), [0, 1, 0], [5, 6, 7])
    part = listing.take(np.array([2, 0]))
    assert list(part.keys) == ["z", "x"] and part.sizes.tolist() == [7, 5]
    assert part.digest == Listing.make(["a", "b"], Keys.pack("zx"), [0, 0], [7, 5]).digest
    other = listing.renamed(["a", "c"])
    assert other.digest != listing.digest and other.classes == ("a", "c")
