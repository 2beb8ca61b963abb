"""What attacks on sources and on weights share: an attempt, a sample of a tar, a file to write."""

from collections.abc import Callable
from pathlib import Path

from shared.images.source import open_source
from tests.test_tar import header, padded

Attempt = tuple[str, Callable[[], object]]


def read_all(spec: str, split: str = "train") -> None:
    source = open_source(spec, split)
    for index in range(len(source)):
        source.read(index)


def sample(label: bytes, suffix: bytes = b"cls") -> bytes:
    return header(b"a.jpg", 3) + padded(b"abc") + header(b"a." + suffix, len(label)) + padded(label)


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
