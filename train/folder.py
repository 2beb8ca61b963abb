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
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
import torchvision

from shared.errors import InputError
from shared.store.files import LocalFiles

ROOT = Path(__file__).resolve().parents[1]


class RunFolder:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._files = LocalFiles(path)

    def open(self, identity: dict[str, Any], facts: dict[str, Any]) -> None:
        """Starts or goes on with a run. InputError where the folder holds another run."""
        self._files.remove_stale()
        run = {"identity": identity, **facts, "code": _code_version(), "versions": _versions()}
        if not self._files.write_new("run.json", _json(run)):
            there = read_run(self.path)["identity"]
            for name, value in json.loads(json.dumps(identity)).items():
                if there.get(name) != value:
                    raise InputError(
                        f"a run folder holds one run: {self.path} has {name} {there.get(name)}, "
                        f"this run has {value}; give the same flags to go on, or another --out"
                    )

    def load_checkpoint(self) -> dict[str, Any] | None:
        """last.pt, on the CPU; None where the run has not finished an epoch."""
        path = self.path / "last.pt"
        if not path.is_file():
            return None
        try:
            # torch.load does not look at the zip file's checksums: a flipped bit would go on.
            with ZipFile(path) as archive:
                if (damaged := archive.testzip()) is not None:
                    raise BadZipFile(f"bad checksum of {damaged}")
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # on damaged bytes torch raises whatever it stumbles over
            reason = str(error).partition("\n")[0]
            raise InputError(
                f"last.pt is a checkpoint of this code: {path} does not load "
                f"({type(error).__name__}: {reason}); delete it to start the run again"
            ) from error
        return state

    def save(self, name: str, state: dict[str, Any]) -> None:
        buffer = io.BytesIO()
        torch.save(state, buffer)
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


def read_run(path: Path) -> dict[str, Any]:
    """run.json. InputError where the folder holds no run."""
    try:
        run: dict[str, Any] = json.loads((path / "run.json").read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise InputError(
            f"a run folder holds a run.json: {path} does not ({type(error).__name__}); give a "
            f"folder that train/run.py wrote"
        ) from error
    return run


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The records of metrics.jsonl; none before the first epoch is finished.

    {"epoch": e, "split": "train" | "val", "top1": percent, "top5": percent, "seconds": s,
     "images_per_second": r}, and for train also "loss": {term: mean}, "weight": {term: w},
    "total": their weighted sum, "learning_rate": r, "view": v.
    """
    try:
        text = (path / "metrics.jsonl").read_text()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in text.splitlines()]


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
