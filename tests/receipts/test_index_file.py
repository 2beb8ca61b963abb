"""The bytes of receipts.index: what is written is read, and nothing else is."""

import random
from hashlib import sha256

import pytest

from shared.store.receipt_index import YOUNG, Entries, decode_index, encode_index, is_young

RECEIPTS: Entries = {
    "v0000-b000000.json": ((3, "1700000000000000000"), b"one"),
    "v0000-b000001.json": ((0, '"etag"'), b""),
    "v0001-b000000.attention4.json": ((6, "x"), b"\n\xff\0\n\n3"),
}


def as_bytes(found: Entries) -> Entries:
    return {name: (stamp, bytes(data)) for name, (stamp, data) in found.items()}


@pytest.mark.parametrize("receipts", [RECEIPTS, {}])
def test_what_is_written_is_read(receipts: Entries) -> None:
    assert as_bytes(decode_index("id", encode_index("id", receipts))) == receipts


def test_any_flipped_bit_and_any_missing_byte_is_found() -> None:
    whole = encode_index("id", RECEIPTS)
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << random.Random(place).randrange(8)
        for data in (bytes(damaged), whole[:place], whole[:place] + whole[place + 1 :]):
            with pytest.raises(ValueError):
                decode_index("id", data)
    with pytest.raises(ValueError, match="sha256"):
        decode_index("id", whole + b"x")


def resealed(table: bytes, rest: bytes = b"") -> bytes:
    """A forged index, whose hash is right."""
    whole = encode_index("id", {})
    forged = table + b"\n" + rest
    return whole[: whole.index(b"\n") + 1] + sha256(forged).hexdigest().encode() + b"\n" + forged


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        (b'{"cache": "other", "receipts": []}', "it is of the cache other"),
        (b'{"cache": "id", "receipts": [["a", 1, "x"]]}', "its receipts take 1 bytes"),
        (b'{"cache": "id", "receipts": [["a", -1, "x"]]}', "receipts.0..1. must be a whole number"),
        (b'{"cache": "id", "receipts": [["a", 1e9, "x"]]}', "must be a whole number"),
        (b'{"cache": "id", "receipts": [["a"]]}', "must be a list of 3"),
        (b'{"cache": "id"}', "receipts is missing"),
        (b'{"cache": "id", "receipts": [], "more": 1}', "more' is not a field"),
        (b"[" * 100_000, "nested too deeply"),
        (b"", "Expecting value"),
    ],
)
def test_a_forged_table_is_not_used(table: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        decode_index("id", resealed(table))


def test_another_version_is_not_used() -> None:
    with pytest.raises(ValueError, match="not an index of this version"):
        decode_index("id", encode_index("id", RECEIPTS).replace(b" 1\n", b" 2\n", 1))


def test_what_may_still_change_under_the_same_stamp_is_young() -> None:
    now = 1_700_000_000.0

    def written(seconds_ago: float) -> tuple[int, str]:
        return 5, str(int((now - seconds_ago) * 1e9))

    assert is_young(written(0), now) and is_young(written(0.9 * YOUNG), now)
    assert is_young(written(-3600), now), "the clock of the disk is ahead"
    assert not is_young(written(1.1 * YOUNG), now)
    assert not is_young((5, '"0cc175b9c0f1b6a831c399e269772661"'), now), "an ETag of the contents"
