"""Cuts off the lower rows of a JPEG that a crop box does not need, to decode it faster.

A sequential JPEG codes its rows from top to bottom, and Huffman decoding is most of the work. When
the height in the header is reduced to the end of the box, a decoder stops there, and the rows below
cost next to nothing. The remaining rows have exactly the pixels of the whole file, because the cut
is made

- between two rows of MCUs, the blocks in which a JPEG codes its components, and
- at least CONTEXT rows below the box, because decoders smooth chroma that is stored at half height
  across rows, and do so differently at the last row of an image.

Layout of the header: SOI (ff d8), then segments (ff, marker, 2 bytes of length that include
themselves, payload) up to SOS, which the coded rows follow. Fields in bytes:
    SOF, the frame: precision 1, height 2, width 2, components 1, each: id 1, sampling 1, table 1
    DRI: restart interval 2
    SOS, the scan: components 1, ...
"""

from dataclasses import dataclass

CONTEXT = 2  # rows

SOF = frozenset({*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)})
SEQUENTIAL = frozenset({0xC0, 0xC1})  # Huffman coded, rows in order
DRI, SOS = 0xDD, 0xDA
BARE = frozenset({0x00, 0x01, *range(0xD0, 0xDA), 0xFF})  # no marker, or without a length


@dataclass(frozen=True, slots=True)
class Header:
    height: int  # pixels
    width: int
    components: int
    frame: int  # position of SOF in bytes
    scan: int  # position of SOS in bytes
    mcu_height: int  # pixels; 0 if the file cannot be cut
    restarts: bool


def read_header(data: bytes) -> Header | None:
    """None unless `data` start as a JPEG whose segments, up to the first scan, are well-formed."""
    if data[:3] != b"\xff\xd8\xff":
        return None
    at, frame, restarts = 2, 0, False
    while at + 4 <= len(data):
        marker, length = data[at + 1], data[at + 2] << 8 | data[at + 3]
        if data[at] != 0xFF or marker in BARE or length < 2 or at + 2 + length > len(data):
            return None
        if marker == SOS:
            break
        if marker == DRI:
            restarts = True
        elif marker in SOF:
            if frame or length < 8 or length != 8 + 3 * data[at + 9]:
                return None
            frame = at
        at += 2 + length
    else:
        return None
    if not frame or length < 3:
        return None
    height = data[frame + 5] << 8 | data[frame + 6]
    width = data[frame + 7] << 8 | data[frame + 8]
    components = data[frame + 9]
    if not (height and width and components):
        return None
    one_scan = data[frame + 1] in SEQUENTIAL and data[at + 4] == components
    rows = max(data[frame + 11 + 3 * c] & 15 for c in range(components))
    return Header(height, width, components, frame, at, 8 * rows if one_scan else 0, restarts)


@dataclass(frozen=True, slots=True)
class Top:
    data: bytes  # the whole JPEG with a smaller height in its header
    height: int


def cut_below(data: bytes, header: Header, rows: int) -> Top | None:
    """The JPEG cut off below its first `rows` rows, or a little further down.

    None if nothing would be saved, or if the file must be checked as a whole: it has no end marker,
    or it has restart markers, at which a decoder resynchronises after damage.
    """
    if not header.mcu_height or header.restarts or data.rfind(b"\xff\xd9") < header.scan:
        return None
    height = -(-(rows + CONTEXT) // header.mcu_height) * header.mcu_height
    if height >= header.height:
        return None
    place = header.frame + 5
    return Top(b"".join((data[:place], height.to_bytes(2, "big"), data[place + 2 :])), height)
