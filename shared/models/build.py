"""A network by its name, and its weights by theirs."""

import hashlib
import os
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import get_model_weights

from shared.choices import ARCHITECTURES
from shared.errors import InputError
from shared.images.listing import shown
from shared.models.cifar_resnet import CIFAR_RESNETS, CifarResNet
from shared.models.resnet import RESNETS, StagedResNet
from shared.models.staged import StagedModel
from shared.models.state_file import read_state


def build_model(architecture: str, num_classes: int, stem: str | None = None) -> StagedModel:
    """One of `shared.choices.ARCHITECTURES`; weights from torch's generator.

    `stem`: the architecture's usual one where it is None. InputError where it cannot have it.
    """
    stem = stem_for(architecture, stem)
    if architecture in CIFAR_RESNETS:
        return CifarResNet(architecture, num_classes)
    return StagedResNet(architecture, num_classes, stem)


def stem_for(architecture: str, asked: str | None) -> str:
    """The stem asked for, or the architecture's usual one. InputError where it cannot have it."""
    possible = ARCHITECTURES[architecture]
    if asked is not None and asked not in possible:
        raise InputError(
            f"--stem must be {' or '.join(possible)} for {architecture}: got {asked}; leave it out"
        )
    return asked or possible[0]


def load_weights(model: StagedModel, weights: str) -> None:
    """Fills `model` from a torchvision weight name (downloaded once) or a local state-dict file.

    Raises: InputError where there is no such file or name, and where it holds other weights than
    the model's, or some that are not finite.
    """
    # Files from before PyTorch 0.4.1, torchvision's first ones among them, lack these counters.
    counters = {
        name: torch.zeros_like(value)
        for name, value in model.state_dict().items()
        if name.endswith(".num_batches_tracked")
    }
    state = {**counters, **_read_state(model.architecture, weights)}
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    got = {name: tuple(value.shape) for name, value in state.items()}
    wrong = [
        f"{shown(name)} is {got.get(name, 'absent')} there and {expected.get(name, 'absent')} here"
        for name in [*expected, *(name for name in got if name not in expected)]
        if expected.get(name) != got.get(name)
    ]
    if wrong:
        raise InputError(
            f"{weights} does not fit {model.architecture} with stem {model.stem} and "
            f"{model.num_classes} classes: it differs in {len(wrong)} entries, first {wrong[0]}; "
            f"give the architecture, stem and data that the weights were trained with"
        )
    for name, value in model.state_dict().items():
        if not state[name].to(value.dtype).isfinite().all():
            raise InputError(
                f"{weights} holds numbers that are not finite, first in {name}: the run that made "
                f"them has diverged; give other weights"
            )
    model.load_state_dict(state)


def _read_state(architecture: str, weights: str) -> dict[str, Tensor]:
    path = Path(weights)
    published = get_model_weights(architecture) if architecture in RESNETS else ()
    names = [weight.name for weight in published]
    if weights not in names or path.is_file():
        if os.path.lexists(path):
            return read_state(path)
        known = " or one of ".join(["a file", ", ".join(names)] if names else ["a file"])
        raise InputError(
            f"--weights must be {known} for {architecture}: there is no {weights!r}; check the path"
        )
    try:
        state: dict[str, Tensor] = get_model_weights(architecture)[weights].get_state_dict(
            progress=True, check_hash=True
        )
    except OSError as error:
        raise InputError(
            f"torchvision cannot download {architecture} {weights}: {error}; download it elsewhere "
            f"and give the file with --weights FILE"
        ) from error
    return state


def weights_digest(model: nn.Module) -> str:
    """sha256 over every entry of the state dict: name, dtype, shape, then its bytes."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
