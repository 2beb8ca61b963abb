"""A network by its name (names.py), as a staged model."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import get_model

from shared.choices import ARCHITECTURES
from shared.errors import InputError
from shared.files.retry import one_line
from shared.models.cifar_resnet import CIFAR_RESNETS, CifarResNet
from shared.models.found_stages import find_stages, last_linear, output_shapes, probe_images
from shared.models.hooked import HookedModel
from shared.models.names import ModelName, parse_name
from shared.models.own import own_network
from shared.models.resnet import StagedResNet
from shared.models.staged import StagedModel, channel_means
from shared.models.timm_model import staged_timm, timm_network

# Pixels a side for finding stages: there no stage of a pyramid is smaller than 7 x 7, so that they
# do not depend on the size of the views. (Inception needs 75, and has the same stages at 224.)
USUAL_SIZE = 224
# torchvision's networks with auxiliary classifiers, which only their own training uses.
WITH_AUXILIARY = ("googlenet", "inception_v3")


def build_model(
    architecture: str,
    num_classes: int | None,
    stem: str | None = None,
    size: int = USUAL_SIZE,
    stage_modules: Sequence[str] | None = None,
) -> StagedModel:
    """A network with new weights, from torch's generator.

    `num_classes`: None for as many as the library's own weights have. `stem`: for ResNets; None for
    the usual one. `size`: pixels a side of the images. `stage_modules`: which modules are the
    stages; None for the usual ones.

    Raises InputError if there is no such network, or it cannot have this stem, size, number of
    classes or these stages.
    """
    name = parse_name(architecture)
    stem = stem_for(architecture, stem)
    if name.library == "plain":
        if stage_modules is not None:
            raise InputError(
                f"--stage-modules cannot be used with {architecture}, whose stages are fixed: "
                f"leave it out, or give the network as FILE.py:FUNCTION or of timm"
            )
        classes = 1000 if num_classes is None else num_classes
        if architecture in CIFAR_RESNETS:
            return CifarResNet(architecture, classes)
        return StagedResNet(architecture, classes, stem)
    with _told(architecture, size):
        network = _network(name, num_classes, size)
        model = _staged(name, network, size, stage_modules)
    model.to(memory_format=torch.channels_last)
    model.architecture, model.stem = architecture, stem
    measure(model, size, num_classes)
    return model


def stem_for(architecture: str, asked: str | None) -> str:
    """The stem that was asked for, or the network's usual one.

    Raises InputError if it cannot have it.
    """
    possible = ARCHITECTURES.get(architecture, ("imagenet",))
    if asked is not None and asked not in possible:
        raise InputError(
            f"--stem must be {' or '.join(possible)} for {architecture}: got {asked}; leave it out"
        )
    return asked or possible[0]


def measure(model: StagedModel, size: int, num_classes: int | None = None) -> None:
    """Runs the network once and sets what can be seen then: widths, stride, what its head is.

    Raises InputError if it does not take images of `size` pixels, or has other than `num_classes`.
    """
    was_training = model.training
    model.eval()
    x = probe_images(model, size)
    try:
        with _told(model.architecture, size), torch.no_grad():
            model.settle(x)
            found = model.run(x)
    finally:
        model.train(was_training)
    logits, last = found.logits, found.stages[-1]
    is_tensor = isinstance(logits, Tensor)
    if not is_tensor or logits.ndim != 2 or num_classes not in (None, logits.shape[1]):
        got = tuple(logits.shape) if is_tensor else f"a {type(logits).__name__}"
        wanted = "C" if num_classes is None else num_classes
        raise InputError(
            f"{model.architecture} returns {got} for {len(x)} images: it must return logits of "
            f"{wanted} classes, ({len(x)}, {wanted})"
        )
    model.num_classes = logits.shape[1]
    model.channels = tuple(maps.shape[1] for maps in found.stages)
    model.stride = max(1, size // last.shape[2])
    model.embedding_width = found.embedding.shape[1]
    model.pooled = torch.equal(channel_means(last), found.embedding.float())
    model.signed = any(bool((part < 0).any()) for part in (*found.stages, found.embedding))
    layer = model.last_layer
    with torch.no_grad():
        model.is_linear = layer is not None and torch.equal(layer(found.embedding), logits)


def _network(name: ModelName, num_classes: int | None, size: int) -> nn.Module:
    if name.library == "own":
        return own_network(name.name, name.function, num_classes)
    if name.library == "timm":
        return timm_network(name.name, num_classes, size)
    classes = {} if num_classes is None else {"num_classes": num_classes}
    options: dict[str, Any] = {}
    if name.name in WITH_AUXILIARY:
        options = {"aux_logits": False, "init_weights": True}
    if name.name.startswith("vit_"):
        options = {"image_size": size}
    network: nn.Module = get_model(name.name, weights=None, **classes, **options)
    return network


@contextmanager
def _told(architecture: str, size: int) -> Iterator[None]:
    """One line for whatever a network raises where it does not take images of this size."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{architecture} fails on images of {size} x {size} pixels ({one_line(error)}): give "
            f"the --size that it was made for"
        ) from error


def _staged(
    name: ModelName, network: nn.Module, size: int, stage_modules: Sequence[str] | None
) -> StagedModel:
    if name.library == "timm" and hasattr(network, "forward_intermediates"):
        return staged_timm(network, size, stage_modules)
    any_size = name.library == "torchvision" and not name.name.startswith("vit_")
    shapes = output_shapes(network, USUAL_SIZE if any_size else size)
    if stage_modules is not None:
        names = tuple(stage_modules)
    elif callable(getattr(network, "stages", None)) and not isinstance(network.stages, nn.Module):
        names = ()
    else:
        names = find_stages(network, shapes)
    return HookedModel(network, names, last_linear(network, shapes), shapes)
