"""Networks as users of their libraries make them, without this project's staged models."""

import importlib.util
from functools import partial
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from shared.models.cifar_resnet import CifarResNet
from shared.pixels.normalise import NORMALISATIONS
from tests.any_network.cases import CLASSES, Case


def plain(case: Case) -> nn.Module:
    """In eval mode. No weight or statistic is 0 or 1, and the outputs are of order one."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        network = _made(case).train()
        for value in network.parameters():
            if value.ndim <= 1 or bool((value == value.flatten()[0]).all()):
                value.add_(0.05 * torch.rand(value.shape, generator=generator))
        norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
        for norm in norms:
            norm.momentum = None  # running statistics are then means over all batches
        for _ in range(2 if norms else 0):
            colours = torch.randn(8, 3, 1, 1, generator=generator)
            network(torch.randn(8, 3, case.size, case.size, generator=generator) + colours)
    return network.eval()


def _made(case: Case) -> nn.Module:
    network: nn.Module
    if case.name.startswith("timm/"):
        import timm

        name = case.name.removeprefix("timm/")
        network = timm.create_model(name, num_classes=CLASSES, **case.options)
    elif case.name.startswith("cifar_"):
        network = CifarResNet(case.name, CLASSES)  # in no library
    elif ".py:" in case.name:
        file, _, function = case.name.partition(":")
        spec = importlib.util.spec_from_file_location("own", file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        network = getattr(module, function)(num_classes=CLASSES)
    else:
        options = {"weights": None, "num_classes": CLASSES, **case.options}
        network = torchvision.models.get_model(case.name, **options)
    return network


def outputs_of(network: nn.Module, case: Case, pixels: Tensor) -> tuple[Tensor, list[Tensor]]:
    """uint8 pixels -> logits (B, C), and the channel means (B, C_s) of the outputs of
    `case.modules`."""
    seen: dict[str, Tensor] = {}

    def see(name: str, module: nn.Module, given: Any, output: Tensor) -> None:
        seen[name] = output

    names = case.modules.split()
    hooks = [network.get_submodule(n).register_forward_hook(partial(see, n)) for n in names]
    with torch.no_grad():
        logits: Tensor = network(_normalised(network, case, pixels))
    for hook in hooks:
        hook.remove()
    return logits, [_means(seen[name], case.layout) for name in names]


def _normalised(network: Any, case: Case, pixels: Tensor) -> Tensor:
    usual = NORMALISATIONS["cifar" if case.name.startswith("cifar_") else "imagenet"]
    mean, std = usual.mean, usual.std
    if case.name.startswith("timm/"):
        mean, std = network.pretrained_cfg["mean"], network.pretrained_cfg["std"]
    scaled = pixels.float() / 255
    return (scaled - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


def _means(output: Tensor, layout: str | int) -> Tensor:
    if isinstance(layout, int):
        return output[:, layout:].mean(1)
    return output.mean((1, 2) if layout == "last" else (2, 3))
