"""Writes events for TensorBoard, with the same numbers as metrics.jsonl."""

from pathlib import Path
from typing import Any, Protocol

from shared.errors import InputError
from shared.files.location import Location


class Events(Protocol):
    def write(self, train: dict[str, Any], val: dict[str, Any] | None) -> None:
        """Writes the records of an epoch, whose val record may be missing."""
        ...

    def close(self) -> None: ...


class _Nothing:
    def write(self, train: dict[str, Any], val: dict[str, Any] | None) -> None: ...

    def close(self) -> None: ...


class _TensorBoard:
    def __init__(self, path: Path) -> None:
        try:
            from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError as error:
            raise InputError(
                f"--tensorboard needs the package tensorboard, which is not installed ({error}): "
                f"pip install tensorboard, or leave the flag out"
            ) from error
        self._writer: Any = SummaryWriter(str(path))

    def write(self, train: dict[str, Any], val: dict[str, Any] | None) -> None:
        epoch = train["epoch"]
        for name, value in ((val or {}).get("raw") or {}).items():
            self._writer.add_scalar(f"{name}/val raw", value, epoch)
        for record in (train, *([] if val is None else [val])):
            for name in ("top1", "top5", "images_per_second"):
                self._writer.add_scalar(f"{name}/{record['split']}", record[name], epoch)
        for name in ("total", "learning_rate"):
            self._writer.add_scalar(name, train[name], epoch)
        for group in ("loss", "weight"):
            for term, value in train[group].items():
                self._writer.add_scalar(f"{group}/{term}", value, epoch)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


def open_events(wanted: bool, folder: Location) -> Events:
    """Raises InputError if the package is missing. A repeated epoch is written again."""
    return _TensorBoard(Path(folder) / "tensorboard") if wanted else _Nothing()
