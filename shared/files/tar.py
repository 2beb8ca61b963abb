"""Lists the members of a tar without unpacking it: the name, offset and size of each.

tarfile is not used because it trusts the headers: a negative size makes it loop for ever, a long
name of 10 TB fills the memory, and 1,000 long names in a row exceed its recursion limit. Here a
header is checked before it is used, and only one header is in memory at a time.

A tar is a sequence of 512-byte blocks: for each member a header, then its bytes, padded. Header
fields (byte positions): name 0-99, size 124-135, checksum 148-155, type 156, magic 257-262, prefix
of the name 345-499; in sparse files byte 482 says that another block of their map follows. Numbers
are octal digits, or binary after a byte 0x80. A member may be preceded by extra entries, which hold
a name that is too long for the header (GNU: type L; K for a link target) or "LENGTH KEY=VALUE LF"
records (PAX: type x, or g for all members that follow). The tar ends at a block of zeros or at the
end of the file.
"""

import io
import os
import re
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from shared.errors import InputError

BLOCK = 512
MAX_EXTRA = 1 << 20  # bytes in a long name or in PAX records
REGULAR = frozenset({b"0", b"\0", b"7"})
BARE = frozenset({b"1", b"2", b"3", b"4", b"5", b"6"})  # links, devices, folders: have no contents
LONG_NAME, LONG_LINK, SPARSE, PAX, PAX_FOR_ALL = b"L", b"K", b"S", b"x", b"g"


class Member(NamedTuple):
    name: str
    offset: int  # bytes from the start of the outer file, even for a tar in a tar
    size: int  # bytes


class _Damaged(Exception):
    """The tar is damaged; the message says how."""


def members(file: BinaryIO, path: str, start: int = 0, stop: int | None = None) -> Iterator[Member]:
    """The regular files in the uncompressed tar at bytes start..stop of an open file, in order.

    The caller may seek in and read the file between members. Sparse files are left out. Raises
    InputError if the tar is damaged; `path` is for the message.
    """
    try:
        yield from _members(file, start, file.seek(0, io.SEEK_END) if stop is None else stop)
    except _Damaged as error:
        raise InputError(
            f"{path} is not a sound, uncompressed tar: {error}; fetch it or make it again"
        ) from error


def _members(file: BinaryIO, start: int, stop: int) -> Iterator[Member]:
    at = start
    long_name: bytes | None = None
    local: dict[bytes, bytes] = {}
    common: dict[bytes, bytes] = {}
    while header := _read_header(file, at, start, stop):
        kind = header[156:157]
        size = _number(header[124:136], at)
        at += BLOCK
        if kind in (LONG_NAME, LONG_LINK, PAX, PAX_FOR_ALL):
            if size > MAX_EXTRA:
                raise _Damaged(f"a name or its PAX records of {size:,} bytes at byte {at:,}")
            extra = _read(file, at, size, stop)
            if kind == LONG_NAME:
                long_name = extra.partition(b"\0")[0]
            elif kind == PAX:
                local |= _records(extra, at)
            elif kind == PAX_FOR_ALL:
                common |= _records(extra, at)
            at += _padded(size)
            continue
        records = {**common, **local}
        sparse = kind == SPARSE or any(key.startswith(b"GNU.sparse.") for key in records)
        more = kind == SPARSE and header[482] != 0
        while more:
            more = _read(file, at, BLOCK, stop)[504] != 0
            at += BLOCK
        if records.get(b"size"):
            size = _decimal(records[b"size"], at)
        name = records.get(b"path") or long_name or _name(header)
        if b"\0" in name:
            raise _Damaged(f"a name with a NUL at byte {at:,}")
        long_name, local = None, {}
        if kind not in BARE:
            if at + size > stop:
                raise _Damaged(f"a member of {size:,} bytes at byte {at:,} reaches beyond the end")
            if kind in REGULAR and not sparse and not (kind == b"\0" and name.endswith(b"/")):
                yield Member(os.fsdecode(name), at, size)
            at += _padded(size)
    if long_name is not None or local:
        raise _Damaged("it ends after the name of a member")


def _read_header(file: BinaryIO, at: int, start: int, stop: int) -> bytes:
    """The header at byte `at`, or b"" at the end of the tar."""
    if at >= stop:  # beyond it where the last member's padding is missing
        if at == start:
            raise _Damaged("it is empty")
        return b""
    if at + BLOCK > stop:
        raise _Damaged(f"no header at byte {at:,}")
    header = _read(file, at, BLOCK, stop)
    if not header.strip(b"\0"):
        return b""
    rest = header[:148] + b" " * 8 + header[156:]
    try:
        said = _number(header[148:156], at)
    except _Damaged:
        said = -1
    # Some old writers sum the bytes as signed numbers.
    if said != sum(rest) and said != sum(struct.unpack("512b", rest)):
        raise _Damaged(f"no header at byte {at:,}")
    return header


def _read(file: BinaryIO, at: int, size: int, stop: int) -> bytes:
    file.seek(at)
    data = file.read(size) if at + size <= stop else b""
    if len(data) < size:
        raise _Damaged(f"it ends at byte {at + len(data):,}, within a header")
    return data


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _number(field: bytes, at: int) -> int:
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    text = field.partition(b"\0")[0].strip(b" ")
    if not re.fullmatch(rb"[0-7]*", text):
        raise _Damaged(f"no number in the header at byte {at:,}: {field!r}")
    return int(text or b"0", 8)


def _decimal(text: bytes, at: int) -> int:
    if not re.fullmatch(rb"[0-9]{1,20}", text):
        raise _Damaged(f"no size in the PAX records before byte {at:,}: {text[:40]!r}")
    return int(text)


def _name(header: bytes) -> bytes:
    name = header[:100].partition(b"\0")[0]
    prefix = header[345:500].partition(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


_LENGTH = re.compile(rb"([0-9]{1,8}) ")


def _records(data: bytes, at: int) -> dict[bytes, bytes]:
    """The PAX records that matter here: path, size and those of sparse files."""
    found = {}
    place = 0
    while place < len(data) and data[place] != 0:
        match = _LENGTH.match(data, place)
        stop = place + int(match[1]) if match else 0
        if match is None or not match.end() < stop <= len(data) or data[stop - 1 : stop] != b"\n":
            raise _Damaged(f"no PAX record at byte {at + place:,}")
        key, _, value = data[match.end() : stop - 1].partition(b"=")
        if key in (b"path", b"size") or key.startswith(b"GNU.sparse."):
            found[key] = value
        place = stop
    return found
