"""A ResNet of any widths without a last layer, and how many multiply-adds a network takes."""

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from shared.models.cifar_resnet import CIFAR_RESNETS
from shared.models.resnet import RESNETS


def blocks_of(architecture: str) -> tuple[type[BasicBlock] | type[Bottleneck], list[int]]:
    """The kind of block, and how many of them a stage has."""
    if architecture in CIFAR_RESNETS:
        return BasicBlock, [CIFAR_RESNETS[architecture]] * 3
    return RESNETS[architecture]


class Trunk(nn.Module):
    """Stem and stages of `architecture`, with its blocks, depths and strides.

    `widths`: of the 3x3 convolutions, one number a stage; the stem has the first. With the
    architecture's own widths this is that network, with its names in the state dict, up to `fc`.
    """

    def __init__(self, architecture: str, stem: str, widths: tuple[int, ...]) -> None:
        super().__init__()
        block, depths = blocks_of(architecture)
        assert len(widths) == len(depths), widths
        large = stem == "imagenet"
        kernel, stride = (7, 2) if large else (3, 1)
        self.conv1 = nn.Conv2d(3, widths[0], kernel, stride, padding=kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if large else nn.Identity()
        self._names = tuple(f"layer{stage + 1}" for stage in range(len(widths)))
        before = widths[0]
        for stage, (name, width, depth) in enumerate(zip(self._names, widths, depths, strict=True)):
            self.add_module(name, _stage(block, before, width, depth, 1 if stage == 0 else 2))
            before = width * block.expansion
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.channels = tuple(width * block.expansion for width in widths)
        self.stride = (4 if large else 1) * 2 ** (len(widths) - 1)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Normalised (B, 3, H, W) -> the output of every stage."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        stages = []
        for name in self._names:
            x = self.get_submodule(name)(x)
            stages.append(x)
        return tuple(stages)


def _stage(
    block: type[BasicBlock] | type[Bottleneck], before: int, width: int, depth: int, stride: int
) -> nn.Sequential:
    wanted = width * block.expansion
    shortcut = None
    if stride > 1 or before != wanted:
        conv = nn.Conv2d(before, wanted, kernel_size=1, stride=stride, bias=False)
        shortcut = nn.Sequential(conv, nn.BatchNorm2d(wanted))
    first = block(before, width, stride, shortcut)
    return nn.Sequential(first, *(block(wanted, width) for _ in range(depth - 1)))


@torch.no_grad()
def multiply_adds(network: nn.Module, size: int) -> int:
    """Of the convolutions and linear layers that one image of `size` pixels a side runs through.

    `network` lies on the device "meta", where nothing is computed, and is put into eval mode.
    """
    found = 0

    def see(layer: Any, given: Any, output: Tensor) -> None:
        nonlocal found
        found += output.numel() * layer.weight[0].numel()

    layers = [each for each in network.modules() if isinstance(each, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(see) for layer in layers]
    network.eval()(torch.empty(1, 3, size, size, device="meta"))
    for hook in hooks:
        hook.remove()
    return found
