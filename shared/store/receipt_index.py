"""receipts.index: all receipts of a split in one file, so that a command reads one file to start.

    receipts.index 1                       name and version of the format
    <sha256 of the rest, in hex>
    {"cache": ID, "receipts": [[name, bytes, mark], ...]}     one line of JSON
    <the receipts' bytes, one after the other>

Only the receipts themselves say what is finished. An entry is used as long as the receipt has the
stamp (size and mark, shared/files/local.py) that it had before it was read for the index; every
other receipt is read itself. An index that is damaged, of another cache or of another version is
ignored and written again. Its entries are checked like receipts.

On disk the mark is the time of the last change. Two changes within one tick of the clock have the
same time, so receipts that are younger than YOUNG when they are read are left out.
"""

import json
import time
from hashlib import sha256

from shared.files import schema
from shared.files.protocol import Stamp
from shared.files.sealed import parse_object

INDEX = "receipts.index"
MOST_INDEX = 1 << 30  # bytes; ImageNet with 50 views in view shards takes 55 MB
YOUNG = 2.0  # seconds; the longest tick of a file system's clock, that of FAT

_MAGIC = b"receipts.index 1\n"
_TABLE = schema.record(
    {
        "cache": schema.text,
        "receipts": schema.many(
            schema.in_turn(schema.text, schema.integer(0, MOST_INDEX), schema.text), 0, 10**9
        ),
    }
)


Entries = dict[str, tuple[Stamp, bytes | memoryview]]  # name -> (stamp, bytes)


def encode_index(cache: str, receipts: Entries) -> bytes:
    """`cache`: its ID. The stamps have the sizes of the receipts."""
    entries, parts = [], []
    for name, ((size, mark), data) in receipts.items():
        assert len(data) == size, name
        entries.append([name, size, mark])
        parts.append(data)
    table = json.dumps({"cache": cache, "receipts": entries}).encode() + b"\n"
    rest = b"".join([table, *parts])
    return b"".join([_MAGIC, sha256(rest).hexdigest().encode(), b"\n", rest])


def decode_index(cache: str, data: bytes) -> Entries:
    """Raises ValueError if `data` is not such an index."""
    head = len(_MAGIC) + 65
    if not data.startswith(_MAGIC):
        raise ValueError("it is not an index of this version")
    rest = memoryview(data)[head:]
    if data[len(_MAGIC) : head] != sha256(rest).hexdigest().encode() + b"\n":
        raise ValueError("its sha256 does not match the rest")
    end = data.find(b"\n", head) + 1
    facts = parse_object(data[head:end])
    _TABLE(facts, "")
    if facts["cache"] != cache:
        raise ValueError(f"it is of the cache {facts['cache']}")
    found: Entries = {}
    at = end
    for name, size, mark in facts["receipts"]:
        found[name] = (size, mark), memoryview(data)[at : at + size]
        at += size
    if at != len(data):
        raise ValueError(f"its receipts take {at - end:,} bytes, and it has {len(data) - end:,}")
    return found


def is_young(stamp: Stamp, read_at: float) -> bool:
    """Whether a receipt on disk may change again without a change of its stamp. `read_at`: seconds
    since the epoch."""
    mark = stamp[1]
    return mark.isdecimal() and read_at - int(mark) / 1e9 < YOUNG


def now() -> float:
    return time.time()
