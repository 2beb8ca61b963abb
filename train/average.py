"""Averaged weights (EMA), evaluated instead of w: a <- decay * a + (1 - decay) * w at every step.

Parameters and floating-point buffers (BatchNorm's statistics) are averaged; integer buffers (its
counters) are copied. The first update copies everything. All state is on the model's device: a
counter on the CPU could not be sent by NCCL.
"""

from collections.abc import Mapping
from copy import deepcopy

import torch
from torch import Tensor

from shared.models.staged import StagedModel
from shared.models.weights import fill


class WeightAverage:
    def __init__(self, model: StagedModel, decay: float) -> None:
        assert 0 < decay < 1, decay
        self.decay = decay
        self.module = deepcopy(model).requires_grad_(False)
        self._is_empty = True

    @torch.no_grad()
    def update(self, model: StagedModel) -> None:
        """Gives the same bits as torch's own EMA, in one kernel launch for all tensors on a GPU."""
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
        """The averaged state dict; None before the first update."""
        return None if self._is_empty else dict(self.module.state_dict())

    def load_state_dict(self, state: Mapping[str, Tensor] | None) -> None:
        if state is not None:
            fill(self.module, state)
        self._is_empty = state is None


def plain_names(state: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """The state dict of an average in a checkpoint, without traces of torch's AveragedModel.

    Earlier versions saved one of those, with prefixed names and a counter. None if it was empty."""
    if "n_averaged" not in state:
        return dict(state)
    if not state["n_averaged"].any():
        return None
    rest = {name: value for name, value in state.items() if name != "n_averaged"}
    return {name.removeprefix("module."): value for name, value in rest.items()}
