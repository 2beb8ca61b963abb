"""Folders of files for tests of image sources, and the keys that are listed of one."""

from pathlib import Path

# Sorts differently by whole path, by part, and without regard to case; two hidden names.
FILES = {
    "train/cat/b.jpg": b"one",
    "train/cat/a.JPEG": b"three",
    "train/cat/B.png": b"",
    "train/cat/deep/z.bmp": b"seven!!",
    "train/cat/deep-er/a.webp": b"x",
    "train/cat/deep/er/a.tiff": b"xx",
    "train/cat/readme.txt": b"not an image",
    "train/cat/.hidden.jpg": b"hidden",
    "train/cat/._b.jpg": b"macOS",
    "train/.ipynb_checkpoints/c.jpg": b"hidden class",
    "train/Dog/1.ppm": b"12",
    "train/Dog/10.pgm": b"1",
    "train/Dog/2.tif": b"123",
    "train/élan/ü.jpg": b"umlaut",
    "val/Dog/v.jpg": b"v",
    "val/cat/v.jpg": b"v",
    "val/élan/v.jpg": b"v",
}
KEYS = [
    "Dog/1.ppm",
    "Dog/10.pgm",
    "Dog/2.tif",
    "cat/B.png",
    "cat/a.JPEG",
    "cat/b.jpg",
    "cat/deep/z.bmp",
    "cat/deep-er/a.webp",
    "cat/deep/er/a.tiff",
    "élan/ü.jpg",
]


def write(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root
