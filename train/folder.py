"""A run's folder: what it is, what it measured, where it stands. Every file is written atomically.

run.json        identity (what changes the numbers), flags, versions, facts of the cache
metrics.jsonl   one JSON object a line, see `Metrics`
last.pt         all that resuming needs
best.pt         the best student so far: a state dict that a plain torchvision ResNet loads
curves.png      top-1 and every loss over the epochs
done            written when the last epoch is finished
"""

import io
import json
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import torch
import torchvision
from torch import Tensor

from shared.errors import InputError, note
from shared.files.local import LocalFiles
from shared.pixels.view import WHOLE
from train.difference import difference
from train.reading import open_regular, read_regular
from train.run_schema import CHECKPOINT, IDENTITY, LATER, RUN, TRAIN, VAL
from train.schema import mismatch, printable

ROOT = Path(__file__).resolve().parents[1]
RUN_FILE = "run.json"
JSON_BYTES = 1 << 28
CHECKPOINT_BYTES = 1 << 36
GIVE_A_RUN = "give a folder that train/run.py wrote"


class RunFolder:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._files = LocalFiles(path)

    def open(self, identity: dict[str, Any], facts: dict[str, Any]) -> None:
        """Starts or goes on with a run. InputError where the folder holds another run."""
        self._files.remove_stale()
        run = {"identity": identity, **facts, "code": _code_version(), "versions": _versions()}
        if self._files.write_new(RUN_FILE, _json(run)):
            return
        there = read_run(self.path)
        for name, value in json.loads(json.dumps(identity)).items():
            if name in LATER and name not in there["identity"]:
                continue
            if (old := there["identity"].get(name)) != value:
                recipes = name == "recipe" and isinstance(old, str)
                told = difference(old, value) if recipes else printable(f"{old} -> {value}")
                raise InputError(
                    f"{self.path} holds another run: its {name} differs ({told}); give the same "
                    f"flags to go on with it, or another --out"
                )
        policy = identity.get("val_policy", "center")
        earlier = "val_policy" not in there["identity"]  # that code knew `center` alone
        if earlier and policy != "center" and facts["model"]["size"] > WHOLE:
            note(
                f"{self.path} was begun with an earlier version, which judged on the val pixels of "
                f"policy center: the epochs from here on are judged on those of {policy}, so that "
                f"top-1 may move a little"
            )
        before, now = there.get("processes"), facts.get("processes")
        if before is not None and before != now:
            note(
                f"{self.path} was begun with {before} processes and goes on with {now}: BatchNorm "
                f"sees each process's part of a batch, so the numbers change a little"
            )

    def load_checkpoint(self, *needed: str) -> dict[str, Any] | None:
        """last.pt, on the CPU, with at least the `needed` of its fields (default: all of them);
        None where the run has not saved yet. InputError where it is no checkpoint of this code."""
        path = self.path / "last.pt"
        if (file := open_regular(path, CHECKPOINT_BYTES)) is None:
            return None
        try:
            # torch.load does not look at the zip file's checksums: a flipped bit would go on.
            with file, ZipFile(file) as archive:
                if any(entry.compress_type != ZIP_STORED for entry in archive.infolist()):
                    raise BadZipFile("it is compressed")  # a small file could fill the memory
                if (damaged := archive.testzip()) is not None:
                    raise BadZipFile(f"bad checksum of {damaged}")
                file.seek(0)
                state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
            pattern = {name: CHECKPOINT[name] for name in needed or CHECKPOINT}
            if (problem := mismatch(state, pattern)) is not None:
                raise ValueError(problem)
        except Exception as error:  # on damaged bytes torch raises whatever it stumbles over
            reason = str(error).partition("\n")[0]
            raise InputError(
                f"{path} is not a checkpoint of this code ({type(error).__name__}: {reason}); "
                f"delete it to start the run again"
            ) from error
        return state

    def save(self, name: str, state: dict[str, Any]) -> None:
        """Everything in it as CPU tensors, so that a machine without a GPU loads it, too."""
        buffer = io.BytesIO()
        torch.save(on_cpu(state), buffer)
        self._files.write(name, buffer.getvalue())

    def write_metrics(self, records: list[dict[str, Any]]) -> None:
        lines = "".join(json.dumps(record) + "\n" for record in records)
        self._files.write("metrics.jsonl", lines.encode())

    def finish(self) -> None:
        self._files.write("done", b"")
        self._files.remove_stale()

    @property
    def is_done(self) -> bool:
        return self._files.exists("done")


def on_cpu(value: Any) -> Any:
    """Dicts, lists, tuples, tensors and plain values; every tensor in them on the CPU."""
    if isinstance(value, Tensor):
        there = value.detach().cpu()
        assert there.device.type == "cpu", f"a tensor on {there.device} would be saved"
        return there
    if isinstance(value, Mapping):
        return {name: on_cpu(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(on_cpu(inner) for inner in value)
    assert value is None or isinstance(value, str | int | float), type(value)
    return value


def read_run(path: Path, *needed: str) -> dict[str, Any]:
    """run.json, with at least the `needed` of its fields, like "model" or "identity.seed".

    InputError where the folder holds no run, or what it holds is not what train/run.py writes.
    """
    data = read_regular(path / RUN_FILE, JSON_BYTES)
    if data is None:
        raise InputError(f"{path} is not a run folder: it {_lack(path)}; {GIVE_A_RUN}")
    pattern: dict[str, Any] = {**RUN, "identity": dict(IDENTITY)}
    for name in needed:
        inside, field = (pattern["identity"], name[9:]) if "." in name else (pattern, name)
        inside[field] = getattr(inside[field], "pattern", inside[field])
    try:
        run: dict[str, Any] = json.loads(data)
        if (problem := mismatch(run, pattern)) is not None:
            raise ValueError(problem)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path} is not a run folder: its run.json is not one that train/run.py wrote "
            f"({_reason(error)}); {GIVE_A_RUN}"
        ) from error
    return run


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The records of metrics.jsonl, two an epoch; none before the first epoch is finished.

    {"epoch": e, "split": "train" | "val", "top1": percent, "top5": percent, "seconds": s,
     "images_per_second": r}, for train also "loss": {term: mean}, "weight": {term: w},
    "total": their weighted sum, "learning_rate": r, "view": v, and for val "precision" and
    "undecodable": number of images that count as wrong because they do not decode.

    InputError where the file holds anything else.
    """
    name = path / "metrics.jsonl"
    if (data := read_regular(name, JSON_BYTES)) is None:
        return []
    try:
        lines = data.decode().splitlines()
        records: list[dict[str, Any]] = [json.loads(line) for line in lines]
        for number, record in enumerate(records):
            pattern = VAL if number % 2 else TRAIN
            if (problem := mismatch(record, pattern)) is not None:
                raise ValueError(f"line {number + 1}: {problem}")
        _require_order(records)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{name} does not hold the two records of every epoch ({_reason(error)}); restore it, "
            f"or start again in another --out"
        ) from error
    return records


def _require_order(records: list[dict[str, Any]]) -> None:
    """ValueError unless epochs rise, train before val, with the same terms throughout."""
    for number, record in enumerate(records):
        if number % 2:
            expected = records[number - 1]["epoch"]
        else:
            expected = records[number - 1]["epoch"] + 1 if number else record["epoch"]
        if record["epoch"] != expected:
            raise ValueError(f"line {number + 1}: epoch {record['epoch']} where {expected} is due")
        terms = [*records[0]["loss"]]
        if not number % 2 and ([*record["loss"]] != terms or [*record["weight"]] != terms):
            raise ValueError(f"line {number + 1}: other terms than in line 1")
    if len(records) % 2:
        raise ValueError(f"epoch {records[-1]['epoch']} has no val record")


def _lack(path: Path) -> str:
    """Of a place without a run.json."""
    if not path.is_dir():
        return "does not exist" if not path.exists() else "is not a folder"
    try:
        return "has no run.json" if any(path.iterdir()) else "is empty"
    except OSError as error:
        return f"cannot be listed ({error.strerror})"


def _reason(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()


def _code_version() -> str:
    """Commit of the checkout, with + where it was changed since; "unknown" outside git."""
    try:
        command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--abbrev=12"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }
