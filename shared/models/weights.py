"""The weights of a network, by their name or from a file."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import get_model_weights

from shared.errors import InputError, note
from shared.images.listing import shown
from shared.models.names import ModelName, parse_name
from shared.models.staged import StagedModel
from shared.models.state_file import read_state
from shared.models.timm_model import timm_network

# Heads that torchvision's weights have for training and that no network here has.
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
OWN = "own"  # --weights of a network of the user's own: those it comes with
LIBRARYS_OWN = "default"  # --weights of a timm network: those of its tag, or its first tag's


State = dict[str, Tensor]


def load_weights(
    model: StagedModel, weights: str, state: State | None = None, new_head: bool = False
) -> None:
    """Fills `model` from a file, or from a library's published weights (downloaded once).

    `weights`: a state-dict file, also of safetensors; a name of torchvision's like IMAGENET1K_V1; a
    tag of timm's like a1_in1k, or "default". `state`: what `state_of` has read, if it has.
    `new_head`: the last layer stays new, with a note, if the weights have other classes.

    Raises InputError if there is no such file or name, or it holds other weights than the model's,
    or some that are not finite.
    """
    network = model.network
    # Files from before PyTorch 0.4.1, torchvision's first ones among them, lack these counters.
    counters = {
        name: torch.zeros_like(value)
        for name, value in network.state_dict().items()
        if name.endswith(".num_batches_tracked")
    }
    if state is None:
        state = state_of(model, weights, "--init" if new_head else "--weights")
    state = {**counters, **state}
    if new_head and classes_in(state, model) not in (None, model.num_classes):
        note(
            f"{weights} has {classes_in(state, model)} classes and the student "
            f"{model.num_classes}: its last layer starts new"
        )
        head = f"{_head_name(model)}."
        own = network.state_dict().items()
        state |= {name: value for name, value in own if name.startswith(head)}
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    got = {name: tuple(value.shape) for name, value in state.items()}
    wrong = [
        f"{shown(name)} is {got.get(name, 'absent')} there and {expected.get(name, 'absent')} here"
        for name in [*expected, *(name for name in got if name not in expected)]
        if expected.get(name) != got.get(name)
    ]
    if wrong:
        stem = f"with stem {model.stem} and " if network is model else "with "
        raise InputError(
            f"{weights} does not fit {model.architecture} {stem}{model.num_classes} classes: it "
            f"differs in {len(wrong)} entries, first {wrong[0]}; give the architecture, stem, "
            f"size and data that the weights were trained with"
        )
    for name, value in network.state_dict().items():
        if not state[name].to(value.dtype).isfinite().all():
            raise InputError(
                f"{weights} holds numbers that are not finite, first in {name}: the run that made "
                f"them has diverged; give other weights"
            )
    fill(network, state)


def fill(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Loads a state dict whose names and shapes are those of the module.

    Some networks (MNASNet) also read a version from the state dict, which a plain dictionary lacks.
    As names and shapes are the module's, its own version is right.
    """
    whole = module.state_dict()
    whole.update(state)
    module.load_state_dict(whole)


def state_of(model: StagedModel, weights: str, flag: str = "--weights") -> State:
    """What a file or a library has under this name, which `flag` gave. Raises as `load_weights`."""
    return _read_state(parse_name(model.architecture), weights, flag)


def classes_in(state: State, model: StagedModel) -> int | None:
    """The number of classes of a state dict; None if the model's last layer is not in it."""
    weight = state.get(f"{_head_name(model)}.weight")
    return None if weight is None or not weight.ndim else len(weight)


def _head_name(model: StagedModel) -> str | None:
    layer = model.last_layer
    found = (name for name, module in model.network.named_modules() if module is layer)
    return next(found, None)


def weights_digest(network: nn.Module) -> str:
    """sha256 over every entry of the state dict: name, dtype, shape, then its bytes."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _read_state(name: ModelName, weights: str, flag: str) -> dict[str, Tensor]:
    path = Path(weights)
    tags = published(name)
    if os.path.lexists(path) and (weights not in tags or path.is_file()):
        return read_state(path)
    if name.library == "timm" and (weights in tags or weights == LIBRARYS_OWN):
        return _timm_state(name.name, weights)
    if weights not in tags:
        known = " or one of ".join(["a file", ", ".join(tags)] if tags else ["a file"])
        raise InputError(
            f"{flag} must be {known} for {name.name}: there is no {weights!r}; check the path"
        )
    try:
        state: dict[str, Tensor] = get_model_weights(name.name)[weights].get_state_dict(
            progress=True, check_hash=True
        )
    except OSError as error:
        raise InputError(
            f"torchvision cannot download {name.name} {weights}: {error}; download it elsewhere "
            f"and give the file with {flag} FILE"
        ) from error
    return {key: value for key, value in state.items() if not key.startswith(AUXILIARY)}


def published(name: ModelName) -> tuple[str, ...]:
    """The names of the weights that a library publishes for a network."""
    if name.library == "timm" and ":" not in name.name:
        try:
            from timm.models import list_pretrained
        except ImportError:
            return ()
        base = name.name.partition(".")[0]
        return tuple(each.partition(".")[2] for each in list_pretrained(f"{base}.*"))
    if name.library in ("plain", "torchvision") and not name.name.startswith("cifar_"):
        return tuple(weight.name for weight in get_model_weights(name.name))
    return ()


def _timm_state(name: str, weights: str) -> dict[str, Tensor]:
    """What timm loads, after the changes of names that it makes for old files."""
    if weights != LIBRARYS_OWN:
        name = f"{name.partition('.')[0]}.{weights}"
    return dict(timm_network(name, None, None, pretrained=True).state_dict())
