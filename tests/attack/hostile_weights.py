"""Files of weights that want to do harm: odd state dicts, pickles that call, zips that grow."""

import io
import pickle
import struct
import sys
import warnings
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from shared.models.build import build_model
from shared.models.weights import load_weights
from tests.attack.source_attempts import Attempt, write
from tests.helpers import write_teacher
from tests.test_bad_weight_files import ODD_TENSORS
from tests.test_complete import saved
from tests.test_tar import HOSTILE


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
