"""What tests of a cache on disk share: its bytes, the damage done to it, one line of refusal."""

from collections.abc import Callable
from pathlib import Path

import pytest

from shared.cache.opening import FORMATS
from shared.errors import InputError
from shared.records.manifest import Manifest
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
