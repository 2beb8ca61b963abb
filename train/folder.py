"""The folder of a run: its identity, metrics and checkpoints. Every file is written atomically.

It is on this machine, or below a URL (shared/files/objects.py).

run.json        identity (what changes the numbers), flags, versions, facts about the cache
metrics.jsonl   one JSON object per line, see run_files.read_metrics
last.pt         everything that is needed to resume
best.pt         the best student so far: a state dict that a plain torchvision ResNet can load
epochs/         epoch-0029.pt, ...: last.pt as it was after that epoch, of the last --keep epochs
curves.png      top-1 and every loss over the epochs
done            written when the last epoch is finished
"""

import json
import platform
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import torch
import torchvision

from shared.errors import InputError, note
from shared.files.location import Location, inside, name_of
from shared.files.objects import open_folder
from shared.pixels.view import WHOLE
from train.difference import difference, same_recipe
from train.reading import open_file
from train.run_files import RUN_FILE, read_run
from train.run_schema import CHECKPOINT, LATER
from train.schema import mismatch, printable
from train.serialise import on_cpu, serialise

ROOT = Path(__file__).resolve().parents[1]
CHECKPOINT_BYTES = 1 << 36
KEPT_FOLDER = "epochs"
KEPT = re.compile(r"epoch-(\d{4,9})\.pt")


class RunFolder:
    def __init__(self, path: Location) -> None:
        self.path = path
        self.name = name_of(path)
        self._files = open_folder(path)

    def open(self, identity: dict[str, Any], facts: dict[str, Any]) -> None:
        """Starts or resumes a run. Raises InputError if the folder has another run."""
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
                if recipes and same_recipe(old, value):
                    continue
                told = difference(old, value) if recipes else printable(f"{old} -> {value}")
                raise InputError(
                    f"{self.path} holds another run: its {name} differs ({told}); give the same "
                    f"flags to go on with it, or another --out"
                )
        policy = identity.get("val_policy", "center")
        earlier = "val_policy" not in there["identity"]  # earlier versions always used `center`
        if earlier and policy != "center" and facts["model"]["size"] > WHOLE:
            note(
                f"{self.path} was begun with an earlier version, which judged on the val pixels of "
                f"policy center: from here on epochs are judged on those of {policy}, so top-1 may "
                f"move a little"
            )
        before, now = there.get("processes"), facts.get("processes")
        if before is not None and before != now:
            note(
                f"{self.path} was begun with {before} processes and goes on with {now}: BatchNorm "
                f"sees each process's part of a batch, so the numbers change a little"
            )

    def load_checkpoint(self, *needed: str, name: str = "last.pt") -> dict[str, Any] | None:
        """last.pt, on the CPU, with at least the `needed` fields (default: all); None if not saved.

        Raises InputError if it is damaged or not a checkpoint of this code."""
        path = inside(self.path, name)
        if (file := open_file(self.path, name, CHECKPOINT_BYTES)) is None:
            return None
        try:
            # torch.load does not check the checksums in the zip file, so check them here.
            with file, ZipFile(file) as archive:
                if any(entry.compress_type != ZIP_STORED for entry in archive.infolist()):
                    raise BadZipFile("it is compressed")  # could be a zip bomb
                if (damaged := archive.testzip()) is not None:
                    raise BadZipFile(f"bad checksum of {damaged}")
                file.seek(0)
                state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
            pattern = {name: CHECKPOINT[name] for name in needed or CHECKPOINT}
            if (problem := mismatch(state, pattern)) is not None:
                raise ValueError(problem)
        except Exception as error:  # torch may raise anything for damaged data
            reason = str(error).partition("\n")[0]
            raise InputError(
                f"{path} is not a checkpoint of this code ({type(error).__name__}: {reason}); "
                f"delete it to start the run again"
            ) from error
        return state

    def save(self, name: str, state: dict[str, Any]) -> None:
        """Saves `state` with all tensors on the CPU, so that machines without a GPU can load it."""
        self._files.write_with(name, lambda file: serialise(on_cpu(state), file))

    def save_checkpoint(self, state: dict[str, Any], keep: int) -> None:
        """Saves last.pt. At the end of an epoch also the epoch's own file, if `keep` is not 0; of
        these the last `keep` remain.

        The epoch's file is written first: after a kill between the two, the resumed run finishes
        the epoch again and writes both. Later epochs' files, from before the user went back to this
        one, stay until they are replaced.
        """
        finished = state["epoch"] - 1
        if not keep or state["step"] or finished < 0:
            self.save("last.pt", state)
            return
        self.save(f"{KEPT_FOLDER}/epoch-{finished:04}.pt", state)
        self.save("last.pt", state)
        there = {name: KEPT.fullmatch(name) for name in self._files.names(KEPT_FOLDER)}
        epochs = {name: int(found[1]) for name, found in there.items() if found}
        older = sorted(
            (name for name in epochs if epochs[name] <= finished), key=epochs.__getitem__
        )
        for name in older[:-keep]:
            self._files.remove(f"{KEPT_FOLDER}/{name}")

    def write_metrics(self, records: list[dict[str, Any]]) -> None:
        lines = "".join(json.dumps(record) + "\n" for record in records)
        self._files.write("metrics.jsonl", lines.encode())

    def finish(self, draw: Callable[[BinaryIO], None]) -> None:
        """Writes curves.png, which `draw` draws, and `done`."""
        self._files.write_with("curves.png", draw)
        self._files.write("done", b"")
        self._files.remove_stale()

    @property
    def is_done(self) -> bool:
        return self._files.exists("done")


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()


def _code_version() -> str:
    """The commit of the checkout, with "+" if it has changes; "unknown" outside git."""
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
