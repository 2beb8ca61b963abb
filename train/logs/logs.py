"""Where else the numbers of a run go, epoch by epoch: --log csv,tensorboard,wandb.

metrics.jsonl is no part of this: it is the run's own record, which resuming reads (saving.py).
"""

from pathlib import Path
from typing import Protocol

from shared.distributed import from_first
from train.logs.csv_table import CsvTable
from train.logs.scalars import Record
from train.logs.tensorboard import TensorBoard
from train.logs.weights_and_biases import WeightsAndBiases
from train.setup import Setup


class Log(Protocol):
    def write(self, records: list[Record]) -> None:
        """After an epoch: the records of all epochs so far, its own last."""
        ...

    def close(self) -> None: ...


class Logs:
    """Those of the first process; in all others it does nothing."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self._open: list[Log] = []

    def begin(self, setup: Setup, records: list[Record]) -> None:
        """Opens them. `records`: those of the epochs before, if the run resumes.

        All processes must call it. Raises InputError, the same in each, if one cannot be opened."""
        from_first(lambda: self._begin(setup, records), setup.world)

    def write(self, records: list[Record]) -> None:
        for log in self._open:
            log.write(records)

    def close(self) -> None:
        for log in self._open:
            log.close()

    def _begin(self, setup: Setup, records: list[Record]) -> None:
        recipe, folder = setup.recipe, setup.folder
        for name in self._names:
            if name == "csv":
                terms = [term.name for term in recipe.terms]
                self._open.append(CsvTable(folder, terms, recipe.ema is not None, records))
            elif name == "tensorboard":
                assert isinstance(folder, Path), folder  # needs.py
                self._open.append(TensorBoard(folder, records))
            elif name == "wandb":
                config = {**setup.facts, "identity": setup.identity}
                self._open.append(WeightsAndBiases(folder, recipe.name, config, records))
