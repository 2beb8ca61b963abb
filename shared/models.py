"""Staged models: torchvision's ResNets that also return their four stage outputs.

A `StagedResNet` has exactly the parameters of the torchvision model of the same name, so state
dicts go both ways. The stem `cifar` is the usual one for 32 px: 3x3 stride 1, no max-pool.
Shapes: B samples, C classes, C_s channels of stage s.
"""

import hashlib
import os
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import get_model_weights
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from shared.choices import STEMS
from shared.errors import InputError
from shared.listing import shown
from shared.weights import read_state

ARCHITECTURES: dict[str, tuple[type[BasicBlock] | type[Bottleneck], list[int]]] = {
    "resnet18": (BasicBlock, [2, 2, 2, 2]),
    "resnet34": (BasicBlock, [3, 4, 6, 3]),
    "resnet50": (Bottleneck, [3, 4, 6, 3]),
    "resnet101": (Bottleneck, [3, 4, 23, 3]),
    "resnet152": (Bottleneck, [3, 8, 36, 3]),
}


class StagedResNet(ResNet):  # type: ignore[misc]  # torchvision has no type hints
    def __init__(self, architecture: str, num_classes: int, stem: str = "imagenet") -> None:
        block, depths = ARCHITECTURES[architecture]
        super().__init__(block, depths, num_classes=num_classes)
        assert stem in STEMS, stem
        if stem == "cifar":
            self.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
            nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
            self.maxpool = nn.Identity()
        # As pixels lie (shared/view.py), so that no layer turns its input round: a step takes 0.8
        # of the time (tests/bench/step.py, CPU).
        self.to(memory_format=torch.channels_last)
        self.architecture = architecture
        self.stem = stem
        self.num_classes = num_classes

    @property
    def channels(self) -> tuple[int, ...]:
        """C_s of the four stages."""
        expansion: int = ARCHITECTURES[self.architecture][0].expansion
        return tuple(width * expansion for width in (64, 128, 256, 512))

    def enter(self, x: Tensor) -> Tensor:
        """All that lies before the first stage."""
        entered: Tensor = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return entered

    @property
    def layers(self) -> tuple[nn.Module, ...]:
        """The four stages, each reading the one before."""
        return self.layer1, self.layer2, self.layer3, self.layer4

    def stages(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) normalised -> the four stage outputs after ReLU, each (B, C_s, H_s, W_s)."""
        x = self.enter(x)
        return tuple(x := layer(x) for layer in self.layers)

    def head(self, means: Tensor) -> Tensor:
        """Channel means of the last stage (B, C_4) -> logits (B, C): all that follows."""
        logits: Tensor = self.fc(means)
        return logits

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """(B, 3, H, W) -> logits (B, C) and the four stage outputs."""
        stages = self.stages(x)
        return self.head(channel_means(stages[-1])), stages


def channel_means(maps: Tensor) -> Tensor:
    """(B, C, H, W) of any precision -> float32 (B, C): what teacher, student and head all read.

    The bits of `mean`, but a gradient that is spread without being copied. With `mean`, cached / CE
    was 1.059 and 1.072 instead of 1.045 and 1.051 (tests/bench/step.py, CPU).
    """
    return maps.sum(dim=(2, 3), dtype=torch.float32) / (maps.shape[2] * maps.shape[3])


def load_weights(model: StagedResNet, weights: str) -> None:
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
    names = [weight.name for weight in get_model_weights(architecture)]
    if weights not in names or path.is_file():
        if os.path.lexists(path):
            return read_state(path)
        raise InputError(
            f"--weights must be a file or one of {', '.join(names)}: got {weights!r}, which is "
            f"neither; check the path"
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
