"""Forgeries of the files of a run folder: each changes a file in place, some by lot."""

import contextlib
import json
import os
import pickle
import random
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import torch

NAMES = ("run.json", "metrics.jsonl", "last.pt", "best.pt")

Forgery = tuple[str, Callable[[Path, random.Random], None]]


def chosen() -> Iterator[tuple[str, str, Callable[[Path, random.Random], None]]]:
    """Those that draw lots, over and over, and between them every other kind for every file."""
    others = [(name, *forgery) for forgery in ONCE for name in NAMES]
    random.Random(0).shuffle(others)
    for name, forgery in cycle(LOTS):
        yield name, *forgery
        if others:
            yield others.pop()


def written(data: bytes) -> Callable[[Path, random.Random], None]:
    def forge(path: Path, draw: random.Random) -> None:
        path.write_bytes(data)

    return forge


def replaced(make: Callable[[Path], object]) -> Callable[[Path, random.Random], None]:
    def forge(path: Path, draw: random.Random) -> None:
        path.unlink()
        make(path)

    return forge


def pickled(value: object) -> Callable[[Path, random.Random], None]:
    def forge(path: Path, draw: random.Random) -> None:
        torch.save(value, path)

    return forge


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


class Hostile:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch /tmp/attack-run-folders-ran-code",)


ONCE: list[Forgery] = [
    ("empty", written(b"")),
    ("null", written(b"null")),
    ("a list", written(b"[1, 2]")),
    ("text", written(b"\xff\xfe no file of ours\n")),
    ("deep", written(b'{"a":' * 50_000)),
    ("long number", written(b'{"epoch": ' + b"9" * 10_000 + b"}")),
    ("a directory", replaced(lambda path: path.mkdir())),
    ("a FIFO", replaced(lambda path: os.mkfifo(path))),
    ("a loop", replaced(lambda path: path.symlink_to(path.name))),
    ("an I/O error", replaced(lambda path: path.symlink_to("/proc/self/mem"))),
    ("/dev/zero", replaced(lambda path: path.symlink_to("/dev/zero"))),
    ("a terabyte", replaced(huge)),
    ("a hostile pickle", written(pickle.dumps(Hostile()))),
    ("a saved list", pickled([torch.zeros(2)])),
    ("a saved number", pickled(3)),
    ("an empty state", pickled({})),
    ("nested", pickled({"student": {"a": {"b": torch.zeros(1)}}, "average": None})),
]

VALUES: list[Any] = [
    None, True, -1, 0, 2**63, 10**400, 1e308, float("nan"), float("inf"), "", "x\n\x1b[0m", [],
    [[]], {}, {"a": {}}, "resnet50", "fp64", [0.0, 0.0, 0.0], ["a", "b", "c"],
]  # fmt: skip


def forge_json(path: Path, draw: random.Random) -> None:
    """One value anywhere in it is another, or gone."""
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    records = [json.loads(line) for line in lines]
    forge_value(records, draw)
    with contextlib.suppress(TypeError, ValueError):
        path.write_text("\n".join(map(json.dumps, records)) + "\n")


def forge_value(value: Any, draw: random.Random) -> None:
    """In place, at a random depth."""
    while True:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = draw.choice(list(keys))
        inner = value[key]
        if isinstance(inner, dict | list) and inner and draw.random() < 0.85:
            value = inner
            continue
        if draw.random() < 0.2:
            del value[key]
        else:
            value[key] = draw.choice(VALUES)
        return


TENSORS: list[Callable[[], Any]] = [
    lambda: torch.zeros(7, 3),
    lambda: torch.zeros(()),
    lambda: torch.zeros(0),
    lambda: torch.zeros(64, dtype=torch.complex64),
    lambda: torch.zeros(64, dtype=torch.int64),
    lambda: torch.zeros(1).expand(64),
    lambda: torch.zeros(64).to_sparse(),
    lambda: torch.zeros(64, device="meta"),
    lambda: torch.quantize_per_tensor(torch.zeros(64), 0.1, 0, torch.qint8),
    lambda: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
]


def forge_state(path: Path, draw: random.Random) -> None:
    """A value or a tensor of a checkpoint is another, or gone."""
    state = torch.load(path, weights_only=True)
    kind = draw.random()
    if kind < 0.5:
        forge_value(state, draw)
    else:
        tensors = state
        inside = [name for name in ("student", "average") if state.get(name)]
        if inside:
            tensors = state[draw.choice(inside)]
        if kind > 0.9 and "optimizer" in state:
            tensors = state["optimizer"]["state"].setdefault(0, {"momentum_buffer": None})
        tensors[draw.choice(list(tensors))] = draw.choice(TENSORS)()
    try:
        torch.save(state, path)
    except Exception:  # not every tensor can be saved
        path.write_bytes(path.read_bytes()[: draw.randrange(1000)])


def flip_byte(path: Path, draw: random.Random) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(draw.randrange(1, 4)):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.write_bytes(data)


def cut(path: Path, draw: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: draw.randrange(len(data))])


LOTS: list[tuple[str, Forgery]] = [
    ("run.json", ("forged", forge_json)),
    ("metrics.jsonl", ("forged", forge_json)),
    ("last.pt", ("forged", forge_state)),
    ("best.pt", ("forged", forge_state)),
    ("run.json", ("a byte", flip_byte)),
    ("metrics.jsonl", ("a byte", flip_byte)),
    ("last.pt", ("a byte", flip_byte)),
    ("last.pt", ("cut", cut)),
    ("metrics.jsonl", ("cut", cut)),
]
