"""The part of a JPEG that a box needs: the file with its lower rows cut off.

A sequential JPEG codes its rows from top to bottom, and undoing the Huffman code is most of the
work of decoding. With the height in the header lowered to the end of the box a decoder stops there,
and what lies below costs next to nothing. The rows that are left are exactly those of the whole
file, because the cut is made

- between two rows of MCUs, the blocks in which a JPEG codes its components, and
- CONTEXT rows below the box or lower: decoders smooth chroma that was stored at half the height
  across rows, and do it otherwise at the last row of an image.

Layout of the header: SOI (ff d8), then segments (ff, marker, 2 bytes of length that count
themselves, payload) up to SOS, after which the coded rows follow.
    SOF, the frame: precision 1, height 2, width 2, components 1, each: id 1, sampling 1, table 1
    DRI: distance of restart markers 2
    SOS, the scan: components 1, ...
"""

from dataclasses import dataclass

CONTEXT = 2  # rows

SOF = frozenset({*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)})
SEQUENTIAL = frozenset({0xC0, 0xC1})  # with Huffman code, all of a row in one place
DRI, SOS = 0xDD, 0xDA
BARE = frozenset({0x00, 0x01, *range(0xD0, 0xDA), 0xFF})  # no marker, or one without a length


@dataclass(frozen=True, slots=True)
class Header:
    height: int  # pixels
    width: int
    components: int
    frame: int  # byte where SOF starts
    scan: int  # byte where SOS starts
    mcu_height: int  # pixels; 0 where the rows cannot be cut
    restarts: bool


def read_header(data: bytes) -> Header | None:
    """None for what is not a JPEG with a frame and a scan, whole and without bytes in between."""
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
    data: bytes  # a JPEG whose last rows, coded as before, are not needed
    height: int


def cut_below(data: bytes, header: Header, rows: int) -> Top | None:
    """The JPEG with its first `rows` rows and no more than they need.

    None where nothing is saved, and where the file is better judged as a whole: it has no end
    marker, or has restart markers, at which a decoder that met damage looks for its place again.
    """
    if not header.mcu_height or header.restarts or data.rfind(b"\xff\xd9") < header.scan:
        return None
    height = -(-(rows + CONTEXT) // header.mcu_height) * header.mcu_height
    if height >= header.height:
        return None
    place = header.frame + 5
    return Top(b"".join((data[:place], height.to_bytes(2, "big"), data[place + 2 :])), height)
