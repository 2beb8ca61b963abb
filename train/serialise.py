"""Writes checkpoints, which are nested dicts, lists and tuples of tensors and plain values."""

from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, cast

import torch
from torch import Tensor


def serialise(state: Any, file: BinaryIO) -> None:
    """Writes `state` as torch.save does. Raises OSError."""
    sink = _Sink(file)
    torch.save(state, cast(BinaryIO, sink))
    if sink.error is not None:
        raise sink.error


def on_cpu(value: Any) -> Any:
    """A copy of nested dicts, lists and tuples with every tensor on the CPU."""
    return with_tensors(value, lambda tensor: tensor.detach().cpu())


def with_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A copy of nested dicts, lists and tuples with every tensor changed to one on the CPU."""
    if isinstance(value, Tensor):
        there = change(value)
        assert there.device.type == "cpu", f"a tensor on {there.device} would be saved"
        return there
    if isinstance(value, Mapping):
        return {name: with_tensors(inner, change) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(with_tensors(inner, change) for inner in value)
    assert value is None or isinstance(value, str | int | float), type(value)
    return value


class _Sink:
    """The file that torch.save writes into. It keeps an error of the file for afterwards, because
    torch's C++ code would report one without its reason."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: bytes | memoryview) -> int:
        if self.error is None:
            try:
                self._file.write(data)
            except OSError as error:
                self.error = error
        return len(data)

    def flush(self) -> None:
        """The writer of the file does this."""
