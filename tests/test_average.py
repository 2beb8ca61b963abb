"""Averaged weights have the bits of torch's own EMA, and nothing that NCCL could not send."""

from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from shared.distributed import World, share_buffers
from shared.models.build import build_model
from shared.models.staged import StagedModel
from tests.runs import require_equal
from train.average import WeightAverage, plain_names

CPU = torch.device("cpu")


def disturb(model: StagedModel, generator: torch.Generator) -> None:
    """Every parameter and buffer, as a step does."""
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.add_(0.1 * torch.randn(value.shape, generator=generator))
            else:
                value += 1


@settings(max_examples=5, deadline=None)
@given(st.floats(0.01, 0.9999), st.integers(1, 4), st.integers(0, 2**31))
def test_the_bits_of_torchs_own(decay: float, updates: int, seed: int) -> None:
    """The oracle is AveragedModel, but for whole numbers, which it averages into nonsense."""
    generator = torch.Generator().manual_seed(seed)
    model = build_model("cifar_resnet20", 3)
    mine = WeightAverage(model, decay)
    oracle = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    assert mine.state_dict() is None, "there is nothing to keep before the first update"
    for _ in range(updates):
        disturb(model, generator)
        mine.update(model)
        oracle.update_parameters(model)
    kept, theirs = mine.state_dict(), plain_names(oracle.state_dict())
    assert kept is not None and theirs is not None
    for name, value in model.state_dict().items():
        expected = theirs[name] if value.is_floating_point() else value
        assert torch.equal(kept[name], expected), name


def test_it_goes_on_from_its_state_and_from_that_of_earlier_versions() -> None:
    generator = torch.Generator().manual_seed(0)
    model = build_model("cifar_resnet20", 3)
    whole = WeightAverage(model, 0.75)
    earlier = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.75), use_buffers=True)
    assert plain_names(earlier.state_dict()) is None, "it had counted no step"
    for _ in range(2):
        disturb(model, generator)
        whole.update(model)
        earlier.update_parameters(model)
    resumed, migrated = WeightAverage(model, 0.75), WeightAverage(model, 0.75)
    resumed.load_state_dict(deepcopy(whole.state_dict()))
    migrated.load_state_dict(plain_names(deepcopy(earlier.state_dict())))
    disturb(model, generator)
    for average in (whole, resumed, migrated):
        average.update(model)
    require_equal(resumed.state_dict(), whole.state_dict())
    require_equal(migrated.state_dict(), whole.state_dict())
    fresh = WeightAverage(model, 0.75)
    fresh.load_state_dict(None)
    disturb(model, generator)
    fresh.update(model)
    require_equal(fresh.state_dict(), dict(model.state_dict()))


def test_every_buffer_that_is_shared_lies_on_the_device_of_the_world() -> None:
    """AveragedModel's counter of steps is on the CPU, whatever its weights are on: NCCL refuses it
    at the end of epoch 0. The meta device stands in for a GPU."""
    meta = torch.device("meta")
    with meta:
        model = build_model("cifar_resnet20", 3)
    average = WeightAverage(model, 0.9)
    share_buffers(average.module, World(), meta)
    model.register_buffer("n_averaged", torch.tensor(0, device=CPU))
    with pytest.raises(AssertionError, match="n_averaged is on cpu, the run on meta"):
        share_buffers(model, World(), meta)
