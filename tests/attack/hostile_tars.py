"""Tars that want to do harm: odd members, lying sizes, headers changed at random."""

import itertools
import random
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.attack.source_attempts import Attempt, read_all, sample, write
from tests.tars import write_tar
from tests.test_tar import HOSTILE, NEGATIVE, TAKEN, header, padded


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
