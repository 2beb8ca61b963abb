"""Reads what wandb keeps of an offline run: a log in LevelDB's format, of wandb's own messages.

7 bytes of head; then blocks of 32 KiB, the head part of the first, of records: 4 bytes of checksum,
2 of length, 1 of kind (1: whole, 2: first, 3: middle, 4: last part), the bytes. A block's end that
is too short for a record's head is filled with zeros.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

BLOCK = 1 << 15


def messages(path: Path) -> Iterator[Any]:
    data = path.read_bytes()
    assert data[:4] == b":W&B"
    place, parts = 7, b""
    while place + 7 <= len(data):
        if BLOCK - place % BLOCK < 7:
            place += BLOCK - place % BLOCK
            continue
        size, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        if place + 7 + size > len(data):
            return  # it is being written
        parts += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):
            yield wandb_internal_pb2.Record.FromString(parts)
            parts = b""


def files(run: Path) -> list[Path]:
    """One for each start of the run, in this order."""
    return sorted(run.glob("wandb/offline-run-*/run-*.wandb"))


def history(path: Path) -> dict[int, dict[str, float]]:
    """Step -> name -> number, without wandb's own."""
    found: dict[int, dict[str, float]] = {}
    for message in messages(path):
        if message.HasField("history"):
            row = {
                item.key or "/".join(item.nested_key): json.loads(item.value_json)
                for item in message.history.item
            }
            assert row["_step"] not in found
            found[row["_step"]] = {name: row[name] for name in row if not name.startswith("_")}
    return found


def begun(path: Path) -> Any:
    """The message that tells the run's id, project, name, group and configuration."""
    (run,) = [message.run for message in messages(path) if message.HasField("run")][:1]
    return run
