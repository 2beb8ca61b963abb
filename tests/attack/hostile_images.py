"""Bytes that call themselves an image, through decode() and apply(): pixels or BadImage.

    python tests/attack/hostile_images.py [ATTEMPTS]

In bounded time and memory, and never anything else: images of every format with bytes changed, cut
off and put together, headers that claim any size, bombs, and formats that are not taken.
"""

import io
import itertools
import random
import sys
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from shared.errors import BadImage
from shared.pixels.decode import MAX_PIXELS, decode, image_size
from shared.pixels.view import View, apply
from tests.attack.bounds import problem_in
from tests.attack.lying_images import forged
from tests.attack.tally import Tally, attempts_wanted
from tests.test_complete import saved

DEFAULT = 250
MODES = {
    "JPEG": ({}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_blocks": 1}),
    "PNG": ({}, {"optimize": True}),
    "WEBP": ({}, {"lossless": True}),
    "BMP": ({},),
    "GIF": ({}, {"interlace": 0}),
    "TIFF": ({}, *({"compression": c} for c in ("tiff_lzw", "tiff_adobe_deflate", "packbits",
                                                "jpeg", "zstd", "lzma"))),
    "PPM": ({},),
}  # fmt: skip


def mutated(number: int) -> tuple[str, bytes]:
    """A pure function of the number."""
    rng = random.Random(number)
    format = list(MODES)[number % len(MODES)]
    options = rng.choice(MODES[format])
    data = bytearray(saved(format, "RGB" if format != "GIF" else "P", **options))
    change = rng.choice(["bytes", "bits", "header", "cut", "delete", "insert", "join", "repeat"])
    for _ in range(rng.choice([1, 3, 30])):
        place = rng.randrange(max(1, len(data)))
        span = rng.randrange(1, 200)
        if change == "bytes":
            data[place : place + 1] = rng.randbytes(1)
        elif change == "bits" and data:
            data[min(place, len(data) - 1)] ^= 1 << rng.randrange(8)
        elif change == "header":
            at = rng.randrange(60)
            data[at : at + 4] = rng.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff"])
        elif change == "cut":
            del data[max(place, 4) :]
        elif change == "delete":
            del data[place : place + span]
        elif change == "insert":
            data[place:place] = rng.randbytes(span)
        elif change == "repeat":
            data[place:place] = data[place : place + span] * 20
        elif change == "join":
            data[place:] = saved(rng.choice(list(MODES)))[place:]
            break
    return f"{format} {options or ''} {change} {number}", bytes(data)


def look(data: bytes) -> None:
    """Every way that the product has to look at an image. They must agree on what is bad."""
    verdicts = []
    for act in (
        lambda: decode(data),
        lambda: apply(View(0, 0, 20, 20, False), data, 16),
        lambda: apply(View(-2, -2, 20, 20, True), data, 16),
    ):
        try:
            verdicts.append(act())
        except BadImage as error:
            assert str(error) and "\n" not in str(error), str(error)
            verdicts.append(None)
    pixels = verdicts[0]
    if isinstance(pixels, np.ndarray):
        assert pixels.dtype == np.uint8 and pixels.shape == (*image_size(data), 3)
        assert pixels.size <= 3 * MAX_PIXELS
        assert verdicts[1] is not None and verdicts[2] is not None, (
            "apply refuses what decode takes"
        )
    else:
        assert verdicts[2] is None, "apply to the whole takes what decode refuses"


def main() -> int:
    tally = Tally("hostile_images", attempts_wanted(DEFAULT))
    assert problem_in(lambda: decode(saved("JPEG"))) is None
    with Image.open(io.BytesIO(saved("EPS"))) as image:
        assert image.format == "EPS", "Pillow alone opens what is to be refused"
    attempts = itertools.chain(forged(), map(mutated, itertools.count()))
    for name, data in itertools.islice(attempts, tally.wanted):
        # As decode.py promises
        tally.record(name, problem_in(partial(look, data), (BadImage,), 16 * MAX_PIXELS))
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
