"""Errors of the file while torch.save writes into it."""

import errno
import io

import pytest
import torch

from tests.runs import require_equal
from train.serialise import serialise

STATE = {"epoch": 3, "a": torch.arange(50_000.0), "b": [torch.zeros(0), torch.ones(9)]}


class Full(io.BytesIO):
    """A disk with room for so many writes."""

    def __init__(self, writes: int) -> None:
        super().__init__()
        self.left = writes

    def write(self, data: object) -> int:  # type: ignore[override]
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)  # type: ignore[arg-type]


def test_an_error_keeps_its_reason_wherever_it_comes() -> None:
    """torch itself would raise a RuntimeError without it, or end the process."""
    endless = Full(1 << 30)
    serialise(STATE, endless)
    writes = (1 << 30) - endless.left
    endless.seek(0)
    require_equal(torch.load(endless, weights_only=True), STATE)
    assert writes > 10
    for room in range(writes):
        with pytest.raises(OSError) as caught:
            serialise(STATE, Full(room))
        assert caught.value.errno == errno.ENOSPC
    serialise(STATE, Full(writes))
