"""Tars, files of labels and of class names, patterns and weights that want to do harm.

    python tests/attack/hostile_sources.py [ATTEMPTS]

What opens as a source must also be read to its end; everything else is one line, in bounded time
and memory.
"""

import gzip
import io
import itertools
import pickle
import random
import struct
import sys
import tempfile
import warnings
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from shared.errors import BadImage, InputError, StorageError
from shared.images import source as images
from shared.images.source import open_source
from shared.images.val_labels import DEVKIT, META, TRUTH
from shared.models.build import build_model, load_weights
from tests.attack.bounds import problem_in
from tests.attack.tally import Tally, attempts_wanted
from tests.helpers import write_teacher
from tests.tars import write_tar
from tests.test_bad_weight_files import ODD_TENSORS
from tests.test_braces import BOMBS
from tests.test_complete import saved
from tests.test_tar import HOSTILE, NEGATIVE, TAKEN, header, padded

DEFAULT = 220
ALLOWED = (InputError, StorageError, BadImage)
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


def tars(root: Path) -> Iterator[Attempt]:
    deep = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    labels = {
        "huge": b"9" * 18, "many digits": b"9" * 100_000, "negative": b"-1", "float": b"1e9",
        "NUL": b"\0", "billion": b"1000000000",
    }  # fmt: skip
    facts = {
        "deep": deep, "list": b"[" * 100_000, "nan": b'{"label": NaN}', "big": b'{"label": 1e400}',
        "half a pair": b'{"class": "\\ud800"}', "number": b'{"label": 99999999999999999999999}',
        "UTF-16": '{"label": 0}'.encode("utf-16"), "not UTF-8": b'{"class": "\xff"}',
        "2 MB": b'{"label": 0, "x": "' + b"x" * 2_000_000 + b'"}',
    }  # fmt: skip
    contents = {**HOSTILE, **{kind: data for kind, (data, _) in TAKEN.items()}}
    contents |= {f"cls {name}": sample(data) for name, data in labels.items()}
    contents |= {f"json {name}": sample(data, b"json") for name, data in facts.items()}
    contents["100,000 parts of one sample"] = b"".join(header(b"a.%d" % i) for i in range(100_000))
    contents["two of one name"] = sample(b"0") * 2
    contents["no image"] = header(b"a.cls", 1) + padded(b"0")
    contents["names out of the folder"] = sample(b"0").replace(b"a.jpg", b"../x.jpg"[:5])
    for kind, data in contents.items():
        path = write(root / f"tar {len(kind)} {zlib.crc32(kind.encode())}/train-0.tar", data)
        yield f"tar: {kind}", partial(read_all, str(path.parent))
    train = root / "archive/ILSVRC2012_img_train.tar"
    inner = header(b"n1.tar", 2048) + HOSTILE["negative size"][:2048]
    write(train, inner)
    yield "archive: negative size within", partial(read_all, str(train.parent))
    write(root / "archive2/ILSVRC2012_img_train.tar", header(b"n1.tar", NEGATIVE))
    yield "archive: negative size", partial(read_all, str(root / "archive2"))


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


class Reduced:
    """Pickles as a call of any function with any arguments."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


def weights(root: Path) -> Iterator[Attempt]:
    write_teacher(root / "sound.pt", "cifar_resnet20", 2)
    state: dict[Any, Any] = torch.load(root / "sound.pt", weights_only=True)
    model = build_model("cifar_resnet20", 2)
    values: dict[str, Any] = {kind: {**state, "fc.bias": v} for kind, (v, _) in ODD_TENSORS.items()}
    nested: Any = {}
    for _ in range(5000):
        nested = [nested]
    one = torch.ones(1)
    values |= {
        "infinite": {**state, "fc.bias": torch.full((2,), float("inf"))},
        "a name that is a number": {**state, 3: one},
        "a name that is a tuple": {**state, (1, 2): one},
        "a name of bytes": {**state, b"fc.bias": one},
        "a name of a megabyte": {**state, "x" * 10**6: one},
        "a name of two lines": {**state, "a\nb\x1b[2J": one},
        "100,000 names": {f"n{i}": 1.0 for i in range(100_000)},
        "of 60 dimensions": {**state, "fc.bias": torch.zeros((1,) * 60)},
        "deep": {"state_dict": nested},
        "wrapped in itself": {"model": {"model": {"model": state}}},
        "empty wrappers": {"model": {}, "state_dict": {}},
        "ordered": OrderedDict(a=OrderedDict(b=OrderedDict())),
        "a set": {1, 2}, "nothing": None, "a string": "x" * 10**6, "a list": list(range(10**5)),
        "only prefixes": {"module.": one, "module.module.": one},
        "no names": {"": one},
    }  # fmt: skip
    for kind, value in values.items():
        path = root / f"{len(kind)} {zlib.crc32(kind.encode())}.pt"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sys.setrecursionlimit(50_000)
            torch.save(value, path)
            sys.setrecursionlimit(1000)
        yield f"weights: {kind}", partial(load_weights, model, str(path))
    sound = (root / "sound.pt").read_bytes()
    packed = zipfile.ZipFile(root / "packed.pt", "w", zipfile.ZIP_DEFLATED)
    with packed, zipfile.ZipFile(root / "sound.pt") as old:
        for entry in old.namelist():
            data = old.read(entry)
            packed.writestr(entry, data if entry.endswith("pkl") else bytes(1 << 24))
    legacy = io.BytesIO()
    torch.save({"fc.bias": torch.zeros(2)}, legacy, _use_new_zipfile_serialization=False)
    content: dict[str, bytes] = {
        "a zip that unpacks to more": (root / "packed.pt").read_bytes(),
        "half": sound[: len(sound) // 2],
        "a call": pickle.dumps({"fc.bias": Reduced(print, "it ran")}, 2),
        "a storage of a terabyte": pickle.dumps(
            {"fc.bias": Reduced(torch.empty, (1 << 38,))}, 2
        ),
        "memo for ever": b"\x80\x02]" + b"q\0" * 10**6 + b".",
        "marks for ever": b"\x80\x02" + b"(" * 10**7 + b".",
        "lists in lists": b"\x80\x02" + b"]" * 10**6 + b"a" * (10**6 - 1) + b".",
        "a long of 2 GB": b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1),
        "a string of 4 GB": b"\x80\x02X" + struct.pack("<I", 2**32 - 1) + b"x",
        "legacy, half": legacy.getvalue()[:-20],
        "legacy, huge storage": legacy.getvalue().replace(b"K\x02", b"J\xff\xff\xff\x7f", 1),
        "a tar": HOSTILE["huge PAX records"], "a JPEG": saved("JPEG"), "JSON": b"{}",
        "zeros": bytes(10**6),
    }  # fmt: skip
    for kind, data in content.items():
        path = write(root / f"raw {zlib.crc32(kind.encode())}.pt", data)
        yield f"weights: {kind}", partial(load_weights, model, str(path))


def mutated(root: Path) -> Iterator[Attempt]:
    """A sound tar with its headers changed; a pure function of the number."""
    sound = root / "sound/train-0.tar"
    files = {f"folder/{i}.{suffix}": b"0" for i in range(4) for suffix in ("jpg", "cls")}
    write_tar(sound, {**files, "long/" * 30 + "x.jpg": b"", "long/" * 30 + "x.cls": b"1"}, 2)
    data = sound.read_bytes()
    for number in itertools.count():
        rng = random.Random(number)
        changed = bytearray(data)
        for _ in range(rng.choice([1, 1, 3, 10])):
            at = rng.randrange(len(data) // 512) * 512
            place, span = rng.choice(
                [(0, 100), (124, 12), (148, 8), (156, 1), (257, 8), (345, 155)]
            )
            changed[at + place : at + place + span] = rng.choice(
                [
                    rng.randbytes(span),
                    b"\0" * span,
                    b"\xff" * span,
                    b"7" * span,
                    b"\x80" + b"\xff" * span,
                ]
            )[:span]
            if rng.random() < 0.8:  # a right checksum, so that the rest is looked at
                block = changed[at : at + 148] + b" " * 8 + changed[at + 156 : at + 512]
                changed[at + 148 : at + 156] = b"%06o\0 " % sum(block)
        path = write(root / f"mutated {number}/train-0.tar", bytes(changed))
        yield f"tar: mutated {number}", partial(read_all, str(path.parent))


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
