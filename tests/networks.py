"""Small networks for tests, with random numbers for weights, and files of weights."""

from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn

from shared.choices import STEMS
from shared.errors import InputError
from shared.models.build import build_model
from shared.models.staged import StagedModel
from shared.models.weights import load_weights, weights_digest

State = dict[str, Tensor]
every_stem = pytest.mark.parametrize("stem", STEMS)


def plain(architecture: str, classes: int) -> nn.Module:
    model: nn.Module = torchvision.models.get_model(architecture, weights=None, num_classes=classes)
    return model


def staged(
    architecture: str = "cifar_resnet20", classes: int = 5, stem: str | None = None
) -> StagedModel:
    return build_model(architecture, classes, stem)


def randomised(model: nn.Module, seed: int = 0) -> State:
    """A state dict of the model with every entry random, so that no two entries look alike."""
    generator = torch.Generator().manual_seed(seed)
    state: State = {}
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            scale = 2 / value[0].numel() ** 0.5 if value.ndim > 1 else 0.5
            state[name] = torch.rand(value.shape, generator=generator) * scale
            state[name] -= 0.0 if name.endswith("running_var") else scale / 2
        elif name.endswith("num_batches_tracked"):
            state[name] = torch.randint(1, 1000, value.shape, generator=generator)
        else:
            state[name] = value  # an index, like Swin's of positions
    return state


def save(path: Path, value: object) -> str:
    torch.save(value, path)
    return str(path)


def refused(model: StagedModel, weights: str) -> str:
    """The one line of the InputError; the model must not have changed."""
    before = weights_digest(model)
    with pytest.raises(InputError) as caught:
        load_weights(model, weights)
    assert weights_digest(model) == before
    text = str(caught.value)
    assert "\n" not in text
    return text
