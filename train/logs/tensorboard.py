"""Events for TensorBoard in RUN/tensorboard."""

from pathlib import Path
from typing import Any

from shared.errors import InputError
from train.logs.scalars import Record, by_epoch


class TensorBoard:
    def __init__(self, folder: Path, records: list[Record]) -> None:
        """`records`: those of the epochs before, if the run resumes. Events of later epochs, from
        before a kill, are hidden by TensorBoard from here on."""
        try:
            from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError as error:  # a package that it needs is damaged
            raise InputError(
                f"--log tensorboard cannot import the package tensorboard ({error}): "
                f"pip install tensorboard, or leave it out"
            ) from error
        path = folder / "tensorboard"
        is_new = not path.exists()
        begun = by_epoch(records)
        self._writer: Any = SummaryWriter(str(path), purge_step=None if is_new else len(begun))
        if is_new:
            self._add(begun)

    def write(self, records: list[Record]) -> None:
        epoch = records[-1]["epoch"]
        self._add({epoch: by_epoch(records[-2:])[epoch]})

    def close(self) -> None:
        self._writer.close()

    def _add(self, epochs: dict[int, dict[str, float]]) -> None:
        for epoch, numbers in epochs.items():
            for name, value in numbers.items():
                self._writer.add_scalar(name, value, epoch)
        self._writer.flush()
