"""Images with changed bytes; each is a pure function of its number."""

from io import BytesIO

import numpy as np
from PIL import Image


def corpus() -> list[bytes]:
    """A dozen kinds of JPEG at two sizes, and the other formats."""
    files = []
    for height, width in ((70, 45), (18, 33)):
        rng = np.random.default_rng(0)
        rough = rng.integers(0, 256, (height // 2, width // 2, 3), dtype=np.uint8)
        image = Image.fromarray(rough).resize((width, height))
        variants: list[tuple[str, str, dict[str, object]]] = [
            *(("JPEG", "RGB", {"subsampling": s, "quality": 90}) for s in (0, 1, 2)),
            ("JPEG", "RGB", {"quality": 30, "optimize": True}),
            ("JPEG", "RGB", {"progressive": True}),
            ("JPEG", "RGB", {"restart_marker_blocks": 3}),
            ("JPEG", "RGB", {"keep_rgb": True}),
            ("JPEG", "L", {}),
            ("JPEG", "L", {"progressive": True}),
            ("JPEG", "CMYK", {}),
            *((name, "RGB", {}) for name in ("PNG", "PPM", "BMP", "TIFF", "WEBP", "GIF")),
            ("PNG", "P", {}),
            ("PNG", "RGBA", {}),
            ("PNG", "I;16", {}),
        ]
        for format, mode, options in variants:
            file = BytesIO()
            image.convert(mode).save(file, format, **options)
            files.append(file.getvalue())
    exif = Image.Exif()
    exif[0x0112] = 6
    file = BytesIO()
    image.save(file, "JPEG", exif=exif)
    return [*files, file.getvalue()]


CORPUS = corpus()
JPEGS = [data for data in CORPUS if data[:2] == b"\xff\xd8"]


def mutated(number: int) -> bytes:
    rng = np.random.default_rng([number, 0x66757A7A])
    files = JPEGS if rng.random() < 0.8 else CORPUS
    data = bytearray(files[rng.integers(len(files))])
    for _ in range(rng.integers(1, 5)):
        place = int(rng.integers(len(data) + 1) * (1 if rng.random() < 0.6 else rng.random() ** 3))
        span = int(rng.integers(1, 40))
        match rng.integers(8):
            case 0:
                data[place : place + 1] = bytes([rng.integers(256)])
            case 1 if place < len(data):
                data[place] ^= 1 << rng.integers(8)
            case 2:
                del data[place : place + span]
            case 3:
                data[place:place] = rng.bytes(span)
            case 4:
                data[place : place + span] = rng.choice([b"\0", b"\xff", b"\x80"]) * span
            case 5:
                data[place:place] = data[place : place + 10 * span]
            case 6:
                other = files[rng.integers(len(files))]
                data[place:] = other[int(rng.integers(len(other))) :]
            case 7:
                del data[max(place, 1) :]
    return bytes(data)
