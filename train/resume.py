"""Restores the state of a run when it starts, the same in all processes.

Only the first process reads the run folder and sends its contents to the others, so machines need
not share the folder. Otherwise a process with an empty folder would start at epoch 0 while others
are at epoch 30.
"""

from typing import Any

from shared.distributed import from_first
from shared.errors import InputError
from train.folder import RunFolder
from train.input import Input
from train.run_files import read_metrics
from train.setup import Setup
from train.state import Position, TrainState

Records = list[dict[str, Any]]


def resume(
    setup: Setup, feed: Input, folder: RunFolder, state: TrainState
) -> tuple[Position, Records]:
    """Loads `state`; returns the position and the records of all epochs before it.

    Raises InputError, the same in every process, if the folder does not fit the run or is damaged.
    """
    saved, records = from_first(lambda: _read(folder), setup.world)
    at = state.start()
    if saved is not None:
        at = state.load(saved)
        if at.epoch < setup.recipe.epochs and at.step > (steps := feed.steps(at.epoch)):
            raise InputError(
                f"{folder.path}/last.pt does not fit this run: it is at step {at.step} of an epoch "
                f"of {steps}; delete it to start the run again"
            )
        if setup.world.is_first:
            print(
                f"{folder.path}: going on at epoch {at.epoch} of {setup.recipe.epochs}, "
                f"step {at.step}"
            )
    return at, records


def _read(folder: RunFolder) -> tuple[dict[str, Any] | None, Records]:
    saved = folder.load_checkpoint()
    epoch = 0 if saved is None else saved["epoch"]
    records = [record for record in read_metrics(folder.path) if record["epoch"] < epoch]
    if (there := sum(record["split"] == "train" for record in records)) != epoch:
        raise InputError(
            f"{folder.path}/metrics.jsonl has {there} of the {epoch} epochs that "
            f"last.pt has finished; restore it, or start again in another --out"
        )
    return saved, records
