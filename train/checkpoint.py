"""Loads a trained student from a run folder, here or at a URL."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shared.choices import VAL_POLICY
from shared.errors import InputError
from shared.files.location import Location, folder_of, name_of
from shared.files.objects import require_location
from shared.models.staged import StagedModel
from shared.models.weights import fill, load_weights, state_of
from shared.pixels.view import ViewPolicy
from train.average import plain_names
from train.composed import build_network
from train.composition import parse_composition
from train.fitting import require_fits
from train.folder import CHECKPOINT_BYTES, KEPT, KEPT_FOLDER, RunFolder
from train.reading import read_file
from train.run_files import JSON_BYTES, RUN_FILE, read_run


@contextlib.contextmanager
def on_disk(checkpoint: Location) -> Iterator[Path]:
    """The path of a checkpoint. One at a URL is downloaded, with its run.json, for the time of the
    block; messages about the copy name the URL."""
    if isinstance(checkpoint, Path):
        yield checkpoint
        return
    require_location(checkpoint, "--checkpoint")
    folder, name = folder_of(checkpoint), name_of(checkpoint)
    inside_run = KEPT.fullmatch(name) is not None and name_of(folder) == KEPT_FOLDER
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / (KEPT_FOLDER if inside_run else "") / name
        copy.parent.mkdir(exist_ok=True)
        above = folder_of(folder) if inside_run else folder
        parts = (
            (copy, folder, CHECKPOINT_BYTES),
            (Path(temporary) / RUN_FILE, above, JSON_BYTES),
        )
        for path, where, most in parts:
            if (data := read_file(where, path.name, most)) is not None:
                path.write_bytes(data)
        try:
            yield copy
        except InputError as error:
            raise InputError(str(error).replace(temporary, str(above))) from error


def run_of(checkpoint: Path) -> dict[str, Any]:
    """The run.json beside a checkpoint. Raises InputError if either is missing."""
    if not checkpoint.is_file():
        found = "is not a file" if checkpoint.exists() else "does not exist"
        raise InputError(
            f"--checkpoint must be a file, a run's best.pt or last.pt: {checkpoint} {found}; check "
            f"the path"
        )
    folder = checkpoint.parent
    kept = KEPT.fullmatch(checkpoint.name) is not None and not (folder / RUN_FILE).exists()
    if kept and folder.resolve().name == KEPT_FOLDER:
        folder = folder.resolve().parent
    if not (folder / RUN_FILE).exists():
        raise InputError(
            f"{checkpoint} has no run.json beside it, which says what network it is and on which "
            f"images it was trained: give the best.pt in the run folder that train/run.py wrote, "
            f"or copy that folder's run.json there"
        )
    return read_run(folder, "model", "flags")


def load_student(checkpoint: Path, facts: dict[str, Any]) -> StagedModel:
    """The network in a plain state dict (best.pt), or the one that the run of last.pt or of an
    epoch's checkpoint evaluates.

    `facts` is "model" of run.json. Raises InputError if the weights do not fit it.
    """
    modules = facts.get("stage_modules")
    model = build_network(
        facts["architecture"],
        facts["classes"],
        facts["stem"],
        facts["size"],
        None if modules is None else tuple(modules),
        parse_composition(facts.get("composition")),
    )
    if checkpoint.name != "last.pt" and not KEPT.fullmatch(checkpoint.name):
        load_weights(model, str(checkpoint), state_of(model, str(checkpoint), "--checkpoint"))
        return model
    folder = RunFolder(checkpoint.parent)
    saved = folder.load_checkpoint("student", "average", name=checkpoint.name)
    assert saved is not None
    # A run with averaged weights evaluates those.
    weights = plain_names(saved["average"]) if saved.get("average") else None
    if weights is None:
        weights = {
            name.removeprefix("backbone."): value
            for name, value in saved["student"].items()
            if name.startswith("backbone.")
        }
    try:
        require_fits("weight", weights, model.state_dict())
    except ValueError as error:
        raise InputError(
            f"{checkpoint} does not fit the run.json beside it: {error}; give a run folder as "
            f"train/run.py wrote it"
        ) from error
    fill(model, weights)
    return model


def val_policy(facts: dict[str, Any]) -> ViewPolicy:
    """How the run's val images are seen. `facts`: "model" in run.json."""
    usual = ViewPolicy(VAL_POLICY)
    return ViewPolicy(
        VAL_POLICY,
        facts.get("interpolation", usual.interpolation),
        facts.get("crop", usual.crop),
    )
