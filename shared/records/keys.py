"""Encodes the keys of a source's samples as a file, which says what image each row is of.

    keys.txt    one key per line, in source order: line i + 1 names sample i

A key is the raw bytes of the file name, mostly UTF-8. Two bytes are escaped: a backslash is written
as \\\\ and a line feed as \\n (a backslash and the letter n).
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

from shared.images.listing import Keys

KEYS = "keys.txt"


def encode_keys(keys: Keys) -> bytes:
    if b"\\" not in keys.text and keys.text.count(b"\n") == len(keys):
        return keys.text
    lines = (_line(keys, index) for index in range(len(keys)))
    return b"".join(line.replace(b"\\", b"\\\\").replace(b"\n", b"\\n") + b"\n" for line in lines)


def decode_keys(data: bytes) -> Keys:
    """Raises ValueError if `data` is not a keys.txt."""
    if data and not data.endswith(b"\n"):
        raise ValueError("its last line does not end in a newline")
    lines = data.split(b"\n")[:-1]
    if b"\\" in data:
        lines = [_unescaped(line) for line in lines]
        data = b"".join(line + b"\n" for line in lines)
    return Keys(data, np.cumsum([0, *(len(line) + 1 for line in lines)], dtype=np.int64))


def key_digest(keys: Keys, samples: NDArray[np.int64]) -> str:
    """Hex SHA-256 of the keys of `samples`, in this order, each followed by LF."""
    begins, ends = keys.ends[samples].tolist(), keys.ends[samples + 1].tolist()
    parts = (keys.text[begin:end] for begin, end in zip(begins, ends, strict=True))
    return hashlib.sha256(b"".join(parts)).hexdigest()


def _line(keys: Keys, index: int) -> bytes:
    return keys.text[keys.ends[index] : keys.ends[index + 1] - 1]


def _unescaped(line: bytes) -> bytes:
    parts = []
    at = 0
    while (found := line.find(b"\\", at)) >= 0:
        escaped = {b"\\": b"\\", b"n": b"\n"}.get(line[found + 1 : found + 2])
        if escaped is None:
            raise ValueError(f"byte {found} of the line {line[:60]!r} escapes nothing")
        parts += [line[at:found], escaped]
        at = found + 2
    return b"".join([*parts, line[at:]])
