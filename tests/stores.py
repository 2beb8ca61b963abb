"""What tests of a cache on disk share: its bytes and blocks, damage done to it, its refusals."""

from collections.abc import Callable
from pathlib import Path

import pytest

from shared.errors import InputError
from shared.images.source import ImageSource
from shared.records.block import Block
from shared.records.manifest import Manifest
from shared.store.opening import FORMATS, Cache
from shared.store.stored_views import images
from tests.helpers import snapshot

NAMES = ["box", "flip", "pred"]
every_format = pytest.mark.parametrize("store", FORMATS)


def refused(action: Callable[[], object]) -> str:
    """The one line of the InputError."""
    with pytest.raises(InputError) as caught:
        action()
    text = str(caught.value)
    assert "\n" not in text
    return text


def bytes_below(folder: Path) -> dict[str, bytes]:
    return {path: data for path, data in snapshot(folder).items() if data is not None}


def all_names(manifest: Manifest) -> list[str]:
    return [*manifest.encoding.fields(), *NAMES]


def flip_first_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)


def flip_middle_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


def make_empty(path: Path) -> None:
    path.write_bytes(b"")


DAMAGES = [flip_first_bit, flip_middle_bit, truncate, append, make_empty, Path.unlink]


def stored_block(cache: Cache, source: ImageSource, view: int, index: int) -> Block:
    """A block read back as it was written."""
    names = list(cache.format.array_paths(cache.manifest, view, index))
    arrays = cache.read_block(view, index, names)
    receipt = cache.receipt(view, index)
    samples = cache.manifest.samples_of(index)
    jpegs = images(cache, view, index) if cache.manifest.holds_pixels else {}
    return Block(
        view=view,
        index=index,
        box=arrays.pop("box"),
        flip=arrays.pop("flip"),
        pred=arrays.pop("pred"),
        label=source.labels[samples],
        images=tuple(jpegs[index] for index in samples.tolist()) if jpegs else (),
        keys=tuple(source.keys[index] for index in samples.tolist()) if jpegs else (),
        fields=arrays,
        pixels=receipt.pixels,
        skipped=receipt.skipped,
        arithmetic=receipt.arithmetic,
    )
