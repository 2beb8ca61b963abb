"""Loads a trained student from a run folder."""

from pathlib import Path
from typing import Any

from shared.choices import VAL_POLICY
from shared.errors import InputError
from shared.models.staged import StagedModel
from shared.models.weights import fill, load_weights, state_of
from shared.pixels.view import ViewPolicy
from train.average import plain_names
from train.composed import build_network
from train.composition import parse_composition
from train.fitting import require_fits
from train.folder import RunFolder
from train.run_files import RUN_FILE, read_run


def run_of(checkpoint: Path) -> dict[str, Any]:
    """The run.json beside a checkpoint. Raises InputError if either is missing."""
    if not checkpoint.is_file():
        found = "is not a file" if checkpoint.exists() else "does not exist"
        raise InputError(
            f"--checkpoint must be a file, a run's best.pt or last.pt: {checkpoint} {found}; check "
            f"the path"
        )
    if not (checkpoint.parent / RUN_FILE).exists():
        raise InputError(
            f"{checkpoint} has no run.json beside it, which says what network it is and on which "
            f"images it was trained: give the best.pt in the run folder that train/run.py wrote, "
            f"or copy that folder's run.json there"
        )
    return read_run(checkpoint.parent, "model", "flags")


def load_student(checkpoint: Path, facts: dict[str, Any]) -> StagedModel:
    """The network in a plain state dict (best.pt), or the one that last.pt's run evaluates.

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
    if checkpoint.name != "last.pt":
        load_weights(model, str(checkpoint), state_of(model, str(checkpoint), "--checkpoint"))
        return model
    saved = RunFolder(checkpoint.parent).load_checkpoint("student", "average")
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
