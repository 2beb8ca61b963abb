"""Tars, files of labels and of class names, patterns and weights that want to do harm.

    python tests/attack/hostile_sources.py [ATTEMPTS]

What opens as a source must also be read to its end; everything else is one line, in bounded time
and memory.
"""

import gzip
import itertools
import struct
import sys
import tempfile
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from shared.errors import BadImage, InputError, StorageError
from shared.images import source as images
from shared.images.val_labels import DEVKIT, META, TRUTH
from tests.attack.bounds import problem_in
from tests.attack.hostile_tars import mutated, tars
from tests.attack.hostile_weights import weights
from tests.attack.source_attempts import Attempt, read_all, sample, write
from tests.attack.tally import Tally, attempts_wanted
from tests.test_braces import BOMBS
from tests.test_complete import saved
from tests.test_tar import HOSTILE

DEFAULT = 220
ALLOWED = (InputError, StorageError, BadImage)


def class_files(root: Path) -> Iterator[Attempt]:
    for name, data in {
        "classes.json": b"[" * 100_000 + b"]" * 100_000,
        "classes.json ": b'["\\ud800"]', "classes.json  ": b'["a\\u0000b"]',
        "classes.json   ": b'["a\\nb"]', "classes.json    ": b'[1e999]',
        "classes.json     ": b'{"a": 1}', "classes.json      ": b'\xff\xfe["a"]',
        "classes.txt": b"a\0b\n", "classes.txt ": b"\xff\n", "classes.txt  ": b"\n" * 10**6,
        "classes.txt   ": b"x" * 10**7, "classes.txt    ": b"",
    }.items():  # fmt: skip
        folder = root / f"classes {zlib.crc32(data)}"
        write(folder / name.strip(), data)
        write(folder / "train-0.tar", sample(b"0"))
        yield f"{name.strip()}: {data[:20]!r}", partial(read_all, str(folder))
    folder = root / "classes of a gigabyte"
    write(folder / "train-0.tar", sample(b"0"))
    with write(folder / "classes.json", b"").open("wb") as file:
        file.truncate(1 << 30)
    yield "classes.json: 1 GB", partial(read_all, str(folder))


def label_files(root: Path) -> Iterator[Attempt]:
    bomb = gzip.compress(bytes(1 << 29))
    packed = zlib.compress(bytes(1 << 29), 9)
    mat = b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM"
    mat_bomb = mat + struct.pack("<II", 15, len(packed)) + packed
    for number, files in enumerate([
        {"val.csv": b"a.jpg,\0\n"}, {"val.csv": b"a.jpg,x\0y\n"}, {"val.csv": b"\0" * 10**6},
        {"val.csv": b"a.jpg," + b"x" * 10**6}, {"val.csv": b"a.jpg,\xff\xfe\n"},
        {"val.csv": "a.jpg,ant\n".encode("utf-16")}, {"val.csv": b'"a.jpg,ant\n' * 1000},
        {"val.csv": b'a.jpg,"ant\nbee"\n'}, {"val.csv": b'a.jpg,"ant'}, {"val.csv": b'"a"b.jpg",x'},
        {"val.csv": b"a.jpg;ant\n"}, {"val.csv": b"," * 10**6}, {"val.csv": b"\n" * 10**6},
        {"val.csv": b""}, {"val.csv": b"a.jpg,\x1b[2Jant\n"}, {"val.csv": b"a.jpg,ant\r"},
        {"val.csv": "a.jpg,a\u2028b\n".encode()}, {"val.csv": b"x.jpg,ant\n" * 10**5},
        {"LOC_val_solution.csv": b"ImageId,PredictionString\na,\n"},
        {"LOC_val_solution.csv": b"ImageId,PredictionString\na, \n"},
        {f"{DEVKIT}.tar.gz": bomb}, {f"{DEVKIT}.tar.gz": bomb[:1000]},
        {f"{DEVKIT}.tar.gz": gzip.compress(HOSTILE["negative size"])},
        {f"{DEVKIT}.tar.gz": HOSTILE["huge long name"]},
        {TRUTH: b"1\n", META: mat_bomb}, {TRUTH: b"1\n", META: mat_bomb[:-50]},
        {TRUTH: b"1\n", META: mat + struct.pack("<II", 14, 2**31 - 1)},
        {TRUTH: b"\xff\n" * 1000, META: b"\0" * 1000},
    ]):  # fmt: skip
        folder = root / f"labels {number}"
        write(folder / "val/a.jpg", saved("JPEG"))
        for name, data in files.items():
            write(folder / name, data)
        kind = ", ".join(f"{name} {data[:20]!r}" for name, data in files.items())
        yield f"labels {number}: {kind}", partial(read_all, str(folder), "val")


def patterns(root: Path) -> Iterator[Attempt]:
    for kind, bomb in BOMBS.items():
        yield f"pattern: {kind}", partial(read_all, f"{root}/{bomb}-train.tar")
    for spec in (
        "{.tar", "}.tar", "}{.tar", "{" * 60 + "}" * 60 + "train.tar", "{" * 10**5 + ".tar",
        "\\.tar", "train-\\{.tar", "{a..Z}-train.tar", "{0..5..0}-train.tar", "{,,,}train.tar",
        "~no-user-here/train.tar", "train" + "x" * 5000 + ".tar", "train\0.tar", "train\n.tar",
        "http://[::1/train.tar", "http:///train.tar", "nothing://train.tar", "://train.tar",
        "s3:///train.tar", "file://nowhere/train.tar", "{http://a,b}/train.tar",
        "{split}" * 20_000 + ".tar",
    ):  # fmt: skip
        yield f"pattern: {spec[:40]!r}", partial(read_all, spec)


def main() -> int:
    tally = Tally("hostile_sources", attempts_wanted(DEFAULT))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        images.DATA = root / "data"
        kinds = (tars, class_files, label_files, patterns, weights, mutated)
        attempts = itertools.chain.from_iterable(make(root / make.__name__) for make in kinds)
        (root / "weights").mkdir()
        for name, act in itertools.islice(attempts, tally.wanted):
            tally.record(name, problem_in(act, ALLOWED))
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
