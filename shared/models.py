"""Staged models: networks that also return the output of each of their stages.

`resnet18` to `resnet152` are torchvision's, with exactly its parameters, so that state dicts go
both ways. `cifar_resnet20` to `cifar_resnet110` are the small ones for images of 32 px (He et al.
2015, arXiv 1512.03385, section 4.2), with the names of the same entries.
Shapes: B samples, C classes, C_s channels of stage s.
"""

import hashlib
import os
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import get_model_weights
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from shared.choices import ARCHITECTURES
from shared.errors import InputError
from shared.listing import shown
from shared.weights import read_state

RESNETS: dict[str, tuple[type[BasicBlock] | type[Bottleneck], list[int]]] = {
    "resnet18": (BasicBlock, [2, 2, 2, 2]),
    "resnet34": (BasicBlock, [3, 4, 6, 3]),
    "resnet50": (Bottleneck, [3, 4, 6, 3]),
    "resnet101": (Bottleneck, [3, 4, 23, 3]),
    "resnet152": (Bottleneck, [3, 8, 36, 3]),
}
# Blocks a stage: of two convolutions each, in three stages; with the first convolution and the
# linear layer these are the layers that the name counts.
CIFAR_RESNETS = {f"cifar_resnet{6 * blocks + 2}": blocks for blocks in (3, 5, 7, 9, 18)}


class StagedModel(nn.Module):
    """What all networks here have in common; `build_model` makes them."""

    architecture: str
    stem: str
    num_classes: int
    channels: tuple[int, ...]  # C_s of each stage
    stride: int  # pixels of the input a pixel of the last stage
    conv1: nn.Conv2d
    bn1: nn.Module
    relu: nn.Module
    fc: nn.Linear

    def enter(self, x: Tensor) -> Tensor:
        """All that lies before the first stage."""
        raise NotImplementedError

    @property
    def layers(self) -> tuple[nn.Module, ...]:
        """The stages, each reading the one before."""
        raise NotImplementedError

    def stages(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) normalised -> the stage outputs after ReLU, each (B, C_s, H_s, W_s)."""
        x = self.enter(x)
        return tuple(x := layer(x) for layer in self.layers)

    def head(self, means: Tensor) -> Tensor:
        """Channel means of the last stage (B, C_last) -> logits (B, C): all that follows."""
        logits: Tensor = self.fc(means)
        return logits

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """(B, 3, H, W) -> logits (B, C) and the stage outputs."""
        stages = self.stages(x)
        return self.head(channel_means(stages[-1])), stages

    def _finish(self, architecture: str, num_classes: int, stem: str) -> None:
        # As pixels lie (shared/view.py), so that no layer turns its input round: a step takes 0.8
        # of the time (tests/bench/step.py, CPU).
        self.to(memory_format=torch.channels_last)
        self.architecture = architecture
        self.stem = stem
        self.num_classes = num_classes


class StagedResNet(StagedModel, ResNet):  # type: ignore[misc]  # torchvision has no type hints
    """One of torchvision's. The stem `cifar` is the usual one for 32 px: 3x3 stride 1, no
    max-pool."""

    def __init__(self, architecture: str, num_classes: int, stem: str = "imagenet") -> None:
        block, depths = RESNETS[architecture]
        ResNet.__init__(self, block, depths, num_classes=num_classes)
        if stem == "cifar":
            self.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
            nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
            self.maxpool = nn.Identity()
        self.channels = tuple(width * block.expansion for width in (64, 128, 256, 512))
        self.stride = 32 if stem == "imagenet" else 8
        self._finish(architecture, num_classes, stem)

    def enter(self, x: Tensor) -> Tensor:
        entered: Tensor = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return entered

    @property
    def layers(self) -> tuple[nn.Module, ...]:
        layers: tuple[nn.Module, ...]
        layers = self.layer1, self.layer2, self.layer3, self.layer4  # type: ignore[assignment]
        return layers


class CifarResNet(StagedModel):
    """Three stages of 16, 32 and 64 channels for images of 32 px.

    Where the width changes the shortcut is a 1x1 convolution with BatchNorm. The paper's own has
    no parameters there (option A); both are in use, and their weights do not fit each other.
    """

    def __init__(self, architecture: str, num_classes: int) -> None:
        super().__init__()
        blocks = CIFAR_RESNETS[architecture]
        self.conv1 = nn.Conv2d(3, 16, kernel_size=3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = _cifar_stage(16, 16, blocks)
        self.layer2 = _cifar_stage(16, 32, blocks)
        self.layer3 = _cifar_stage(32, 64, blocks)
        self.fc = nn.Linear(64, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.channels = (16, 32, 64)
        self.stride = 4
        self._finish(architecture, num_classes, "cifar")

    def enter(self, x: Tensor) -> Tensor:
        entered: Tensor = self.relu(self.bn1(self.conv1(x)))
        return entered

    @property
    def layers(self) -> tuple[nn.Module, ...]:
        return self.layer1, self.layer2, self.layer3


def _cifar_stage(width: int, wanted: int, blocks: int) -> nn.Sequential:
    shortcut = None
    if width != wanted:
        shortcut = nn.Sequential(
            nn.Conv2d(width, wanted, kernel_size=1, stride=2, bias=False), nn.BatchNorm2d(wanted)
        )
    first = BasicBlock(width, wanted, wanted // width, shortcut)
    return nn.Sequential(first, *(BasicBlock(wanted, wanted) for _ in range(blocks - 1)))


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


def channel_means(maps: Tensor) -> Tensor:
    """(B, C, H, W) of any precision -> float32 (B, C): what teacher, student and head all read.

    The bits of `mean`, but a gradient that is spread without being copied. With `mean`, cached / CE
    was 1.059 and 1.072 instead of 1.045 and 1.051 (tests/bench/step.py, CPU).
    """
    return maps.sum(dim=(2, 3), dtype=torch.float32) / (maps.shape[2] * maps.shape[3])


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
            f"weights must fit {model.architecture} with stem {model.stem} and "
            f"{model.num_classes} classes: {weights} differs in {len(wrong)} entries, first "
            f"{wrong[0]}; give the architecture, stem and data that the weights were trained with"
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
            f"--weights must be {known} for {architecture}: got {weights!r}, which is not; check "
            f"the path"
        )
    try:
        state: dict[str, Tensor] = get_model_weights(architecture)[weights].get_state_dict(
            progress=True, check_hash=True
        )
    except OSError as error:
        raise InputError(
            f"torchvision must be able to download {architecture} {weights}: {error}; "
            f"download it elsewhere and give the file with --weights FILE"
        ) from error
    return state


def weights_digest(model: nn.Module) -> str:
    """sha256 over every entry of the state dict: name, dtype, shape, then its bytes."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
