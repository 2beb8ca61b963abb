"""Limits of decoding: too many pixels or scans are refused; a wide image takes little memory."""

import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.errors import BadImage
from shared.pixels.decode import MAX_PIXELS, MAX_SCANS, decode, decode_rows, image_size
from tests.encoded import COLOUR, NOISE, encode


def header_only(width: int, height: int) -> bytes:
    """A PPM that promises more than it holds."""
    return b"P6 %d %d 255\n" % (width, height)


@pytest.mark.parametrize(
    ("width", "text"),
    [
        (9_001, f"9001 x 10000 is more than {MAX_PIXELS:,} pixels"),
        (90_010, f"more than {MAX_PIXELS:,} pixels"),  # Pillow itself refuses twice its limit
    ],
)
def test_decompression_bomb(width: int, text: str) -> None:
    for function in (decode, image_size):
        with pytest.raises(BadImage) as caught:
            function(header_only(width, 10_000))
        assert str(caught.value) == text


def test_the_pixel_limit_is_pillows() -> None:
    """A lower one of Pillow's would warn below ours; a higher one is no reason to raise ours."""
    assert MAX_PIXELS == Image.MAX_IMAGE_PIXELS
    assert image_size(header_only(MAX_PIXELS, 1)) == (1, MAX_PIXELS)


def test_bomb_prints_nothing_outside_pytest(tmp_path: Path) -> None:
    (tmp_path / "bomb").write_bytes(header_only(9_001, 10_000))
    code = (
        "import pathlib, sys; from shared.pixels.decode import decode, BadImage\n"
        "try: decode(pathlib.Path(sys.argv[1]).read_bytes())\n"
        "except BadImage as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "bomb"],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"9001 x 10000 is more than {MAX_PIXELS:,} pixels\n"
    assert done.stderr == ""


def jpeg_header_only(width: int, height: int) -> bytes:
    data = bytearray(encode(COLOUR, "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def test_decompression_bomb_of_a_jpeg() -> None:
    for function in (decode, image_size, lambda data: decode_rows(data, 1)):
        with pytest.raises(BadImage) as caught:
            function(jpeg_header_only(9_001, 10_000))
        assert str(caught.value) == f"9001 x 10000 is more than {MAX_PIXELS:,} pixels"


def test_a_progressive_jpeg_of_too_many_scans() -> None:
    """Each is a pass over all pixels: a small file could keep a decoder busy for minutes."""
    data = encode(COLOUR, "JPEG", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    assert decode(data).shape == (20, 30, 3)
    bomb = data[:-2] + scan * MAX_SCANS + data[-2:]
    scans = data.count(b"\xff\xda") + MAX_SCANS
    with pytest.raises(BadImage) as caught:
        decode(bomb)
    assert str(caught.value) == f"{scans} scans are more than {MAX_SCANS}, {len(bomb):,} bytes"


WIDE = {
    "JPEG": ("JPEG", {}, "RGB", 4),
    "progressive": ("JPEG", {"progressive": True, "subsampling": 0}, "RGB", 12),
    "CMYK": ("JPEG", {}, "CMYK", 16),
    "PNG": ("PNG", {"compress_level": 1}, "RGB", 12),
    "palette": ("PNG", {"compress_level": 1}, "P", 12),
}


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
@pytest.mark.parametrize("name", WIDE)
def test_memory_of_an_image_20000_pixels_wide(name: str, tmp_path: Path) -> None:
    format, options, mode, bytes_per_pixel = WIDE[name]
    rows = 1000
    image = Image.fromarray(np.resize(NOISE, (rows, 20_000, 3))).convert(mode)
    (tmp_path / "wide").write_bytes(encode(image, format, **options))
    code = (
        "import pathlib, re, sys; from shared.pixels.decode import decode\n"
        "def peak():\n"
        "    status = pathlib.Path('/proc/self/status').read_text()\n"
        "    return int(re.search(r'VmHWM:\\s+(\\d+) kB', status)[1]) * 1024\n"
        "data = pathlib.Path(sys.argv[1]).read_bytes(); before = peak()\n"
        "print(decode(data).shape, peak() - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "wide"],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    shape, peak = done.stdout.rsplit(" ", 1)
    assert shape == f"({rows}, 20000, 3)"
    assert int(peak) < bytes_per_pixel * rows * 20_000
