"""Averaged weights: a <- decay * a + (1 - decay) * w after every step, judged in place of w.

Parameters and floating-point buffers (BatchNorm's statistics) are averaged, whole numbers (its
counters) are copied. The first update copies everything. All of it lies on the model's device:
there is no counter on the CPU, which no NCCL collective could send.
"""

from collections.abc import Mapping
from copy import deepcopy

import torch
from torch import Tensor

from shared.models.staged import StagedModel


class WeightAverage:
    def __init__(self, model: StagedModel, decay: float) -> None:
        assert 0 < decay < 1, decay
        self.decay = decay
        self.module = deepcopy(model).requires_grad_(False)
        self._is_empty = True

    @torch.no_grad()
    def update(self, model: StagedModel) -> None:
        """One kernel launch over all tensors on a GPU; the bits of torch's own EMA."""
        averages, values = self.module.state_dict(), model.state_dict()
        floats = [name for name, value in values.items() if value.is_floating_point()]
        for name in values if self._is_empty else values.keys() - set(floats):
            averages[name].copy_(values[name])
        if not self._is_empty:
            torch._foreach_lerp_(
                [averages[name] for name in floats],
                [values[name] for name in floats],
                1 - self.decay,
            )
        self._is_empty = False

    def state_dict(self) -> dict[str, Tensor] | None:
        """None before the first update: there is nothing to keep."""
        return None if self._is_empty else dict(self.module.state_dict())

    def load_state_dict(self, state: Mapping[str, Tensor] | None) -> None:
        if state is not None:
            self.module.load_state_dict(state)
        self._is_empty = state is None


def plain_names(state: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Of an average as a checkpoint holds it: earlier ones have torch's AveragedModel in them, with
    a prefix before every name and a counter; None where it had counted nothing."""
    if "n_averaged" not in state:
        return dict(state)
    if not state["n_averaged"].any():
        return None
    rest = {name: value for name, value in state.items() if name != "n_averaged"}
    return {name.removeprefix("module."): value for name, value in rest.items()}
