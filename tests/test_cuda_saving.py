"""A save on a GPU copies the state of the step at which it was called, without waiting for it."""

import torch

from tests.on_gpu import DEVICE, needs_gpu
from tests.runs import require_equal
from train.saving import copies


@needs_gpu
def test_steps_that_follow_do_not_change_what_is_copied() -> None:
    weights = {str(number): torch.full((1 << 22,), float(number + 1)) for number in range(30)}
    weights = {name: value.to(DEVICE) for name, value in weights.items()}
    momentum = torch.randn(8, 3, 3, 3, device=DEVICE).to(memory_format=torch.channels_last)
    stream = torch.cuda.Stream(torch.device(DEVICE))
    for _ in range(3):
        before = {name: value.cpu() for name, value in weights.items()}
        (copied, other), ready = copies((weights, {"m": momentum, "step": torch.ones(1)}), stream)
        for value in weights.values():
            value.mul_(-3)
        ready()
        require_equal(copied, before)
        assert all(value.is_pinned() for value in copied.values())
        assert torch.equal(other["m"], momentum.cpu()) and other["m"].stride() == momentum.stride()
        assert other["step"] == 1


@needs_gpu
def test_the_host_does_not_wait_for_the_steps_before() -> None:
    matrix = torch.randn(8192, 8192, device=DEVICE)
    stream = torch.cuda.Stream(torch.device(DEVICE))
    copies({"matrix": matrix}, stream)[1]()  # pins the memory, for which the host waits
    for _ in range(200):  # seconds of work
        matrix = (matrix @ matrix).clamp_(-1, 1)
    worked = torch.cuda.Event()
    worked.record()
    copied, ready = copies({"matrix": matrix}, stream)
    assert not worked.query()
    ready()
    assert worked.query() and torch.equal(copied["matrix"], matrix.cpu())
