"""Networks of any library with random numbers in every entry, and images for them."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from shared.errors import InputError
from shared.models.build import build_model, measure
from shared.models.staged import Run, StagedModel
from tests.networks import randomised

CLASSES = 7


def made(name: str, size: int = 64, stage_modules: Sequence[str] | None = None) -> StagedModel:
    """In eval mode. No norm is the identity, no bias is 0 and no two classes are alike."""
    model = build_model(name, CLASSES, size=size, stage_modules=stage_modules)
    model.network.load_state_dict(randomised(model.network))
    measure(model, size, CLASSES)
    return model.eval()


def images(size: int = 64, rows: int = 3, seed: int = 1) -> Tensor:
    return torch.randn(rows, 3, size, size, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def run_of(model: StagedModel, size: int = 64) -> Run:
    """One pass; its logits are those of the library's own forward, bit for bit."""
    x = images(size)
    run = model.run(x)
    assert run.logits.std() > 1e-3
    assert torch.equal(run.logits, model.network(x))
    return run


@torch.no_grad()
def output_of(model: StagedModel, module: str, size: int = 64) -> Tensor:
    """What a module of the library's network returns."""
    return _seen(model, module, size)[1]


@torch.no_grad()
def input_of(model: StagedModel, module: str, size: int = 64) -> Tensor:
    return _seen(model, module, size)[0]


def _seen(model: StagedModel, name: str, size: int) -> tuple[Tensor, Tensor]:
    found: list[tuple[Tensor, Tensor]] = []

    def hook(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        found.append((given[0].clone(), output.clone()))

    handle = model.network.get_submodule(name).register_forward_hook(hook)
    model.network(images(size))
    handle.remove()
    return found[-1]


def refused(
    name: str,
    size: int = 64,
    classes: int | None = CLASSES,
    stage_modules: Sequence[str] | None = None,
) -> str:
    """The one line of the InputError."""
    with pytest.raises(InputError) as caught:
        build_model(name, classes, size=size, stage_modules=stage_modules)
    assert "\n" not in str(caught.value)
    return str(caught.value)
