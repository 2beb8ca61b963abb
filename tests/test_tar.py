"""Members as tarfile finds them in sound tars; hostile ones are one line, at once."""

import contextlib
import io
import re
import struct
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import InputError
from shared.files.tar import BLOCK, MAX_EXTRA, Member, members

FORMS = [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT]


def add(tar: tarfile.TarFile, name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.type = len(data), kind
    member.linkname = "elsewhere" * 30 if kind == tarfile.SYMTYPE else ""
    tar.addfile(member, io.BytesIO(data))


def list_members(data: bytes) -> list[Member]:
    return list(members(io.BytesIO(data), "t.tar"))


names = st.text(st.characters(blacklist_characters="\0/", blacklist_categories=["Cs"]), min_size=1)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(names, min_size=1, max_size=4).map("/".join),
            st.integers(0, 2000),
            st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.FIFOTYPE]),
            st.booleans(),
        ),
        max_size=6,
    ),
    st.sampled_from(FORMS[:2]),
)
def test_members_are_tarfiles(found: list[tuple[str, int, bytes, bool]], form: int) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as tar:
        for name, size, kind, long in found:
            size = size if kind == tarfile.REGTYPE else 0
            add(tar, ("long/" * 60 if long else "") + name, b"x" * size, kind)
    with tarfile.open(fileobj=io.BytesIO(file.getvalue())) as tar:
        expected = [Member(m.name, m.offset_data, m.size) for m in tar if m.isreg()]
    mine = [
        member._replace(name=member.name.rstrip("/")) for member in list_members(file.getvalue())
    ]
    assert mine == [member._replace(name=member.name.rstrip("/")) for member in expected]


def test_a_prefix_belongs_to_the_name() -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        add(tar, "folder/" * 20 + "name", b"data")
    assert list_members(file.getvalue()) == [Member("folder/" * 20 + "name", BLOCK, 4)]


def header(
    name: bytes = b"a.jpg", size: int | bytes = 0, kind: bytes = b"0", extended: bool = False
) -> bytes:
    """One block with a right checksum."""
    field = size if isinstance(size, bytes) else b"%011o\0" % size
    block = name.ljust(100, b"\0") + b"0000644\0" * 3 + field + b"00000000000\0" + b" " * 8 + kind
    block = bytearray(block.ljust(257, b"\0") + b"ustar\x0000".ljust(BLOCK - 257, b"\0"))
    block[482] = extended
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def records(*pairs: tuple[bytes, bytes]) -> bytes:
    found = b""
    for key, value in pairs:
        size = len(key) + len(value) + 3
        size += len(str(size + len(str(size))))
        found += b"%d %b=%b\n" % (size, key, value)
    return found


def pax(*pairs: tuple[bytes, bytes], kind: bytes = b"x") -> bytes:
    data = records(*pairs)
    return header(b"pax", len(data), kind) + padded(data)


NEGATIVE = struct.pack(">B", 0xFF) * 11 + b"\0"  # -256 in binary
HUGE = b"\x80" + b"\x7f" * 11
END = bytes(2 * BLOCK)
ONE = header(size=3) + padded(b"abc")

HOSTILE: dict[str, bytes] = {
    "negative size": ONE + header(size=NEGATIVE) + END,
    "negative size of a long name": header(size=NEGATIVE, kind=b"L") + ONE + END,
    "negative size of PAX records": header(size=NEGATIVE, kind=b"x") + ONE + END,
    "huge size": ONE + header(size=HUGE) + END,
    "huge long name": header(size=HUGE, kind=b"L") + ONE + END,
    "huge PAX records": header(size=1 << 32, kind=b"x") + ONE + END,
    "large PAX records": header(size=MAX_EXTRA + 1, kind=b"g") + bytes(2 * MAX_EXTRA) + END,
    "size beyond the end": ONE + header(size=10**6) + padded(b"abc") + END,
    "octal with a sign": ONE + header(size=b"-0000000100\0") + END,
    "no octal": ONE + header(size=b"9999999999z\0") + END,
    "PAX size": pax((b"size", b"999999999999999999")) + ONE + END,
    "PAX size negative": pax((b"size", b"-512")) + ONE + END,
    "PAX size of many digits": pax((b"size", b"9" * 5000)) + ONE + END,
    "PAX size not a number": pax((b"size", b"nan")) + ONE + END,
    "PAX name with NUL": pax((b"path", b"a\0b.jpg")) + ONE + END,
    "PAX length 0": header(size=10, kind=b"x") + padded(b"0 path=ab\n") + ONE + END,
    "PAX length too large": header(size=10, kind=b"x") + padded(b"99 path=a\n") + ONE + END,
    "PAX of digits": header(size=1 << 20, kind=b"x") + b"1" * (1 << 20) + ONE + END,
    "PAX without a member": ONE + pax((b"path", b"b.jpg")) + END,
    "long name at the end": ONE + header(size=5, kind=b"L") + padded(b"b.jpg"),
    "sparse without end": header(kind=b"S", extended=True) + (bytes(504) + b"\1" + bytes(7)) * 50,
    "damaged second header": ONE + b"\1" + header()[1:] + END,
    "half a header": ONE + header()[:300],
    "text": b"this is no tar at all, but it is longer than a block " * 20,
    "gzip": b"\x1f\x8b\x08\0" + bytes(range(256)) * 4,
    "empty": b"",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_tars_are_one_line(kind: str) -> None:
    with pytest.raises(InputError) as caught:
        list_members(HOSTILE[kind])
    text = str(caught.value)
    assert re.fullmatch(
        r"t.tar is not a sound, uncompressed tar: .*; fetch it or make it again", text
    )
    assert len(text) < 300


TAKEN: dict[str, tuple[bytes, list[str]]] = {
    "20,000 long names in a row": (
        (header(size=5, kind=b"L") + padded(b"b.jpg")) * 20_000 + ONE + END,
        ["b.jpg"],
    ),
    "PAX records for all": (pax((b"path", b"g"), kind=b"g") + ONE + ONE + END, ["g", "g"]),
    "sparse": (header(kind=b"S", size=3) + padded(b"abc") + ONE + END, ["a.jpg"]),
    "PAX sparse": (pax((b"GNU.sparse.major", b"1")) + ONE + ONE + END, ["a.jpg"]),
    "links have no bytes": (header(size=512, kind=b"1") + ONE + END, ["a.jpg"]),
    "no end": (ONE, ["a.jpg"]),
    "cut in the padding": (ONE[:-100], ["a.jpg"]),
    "bytes that are no UTF-8": (header(b"\xff\xfe.jpg") + END, ["\udcff\udcfe.jpg"]),
    "a line break": (header(b"a\nb.jpg") + END, ["a\nb.jpg"]),
    "nothing": (END, []),
}


@pytest.mark.parametrize("kind", TAKEN)
def test_odd_but_sound_tars(kind: str) -> None:
    data, expected = TAKEN[kind]
    assert [member.name for member in list_members(data)] == expected


def test_no_more_is_asked_for_than_a_header_may_have() -> None:
    """tarfile asks for what a header says; the negative control shows it."""
    asked: list[int] = []

    class Watched(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            asked.append(-1 if size is None else size)
            return super().read(min(size, 1 << 20) if size and size > 0 else 0)

    data = HOSTILE["huge PAX records"]
    with contextlib.suppress(Exception), tarfile.open(fileobj=Watched(data), mode="r:") as tar:
        list(tar)
    assert max(asked) >= 1 << 32
    asked.clear()
    with pytest.raises(InputError):
        list(members(Watched(data), "t.tar"))
    assert 0 < max(asked) <= MAX_EXTRA
