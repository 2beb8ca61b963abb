"""Staged models: networks that also return the output of each of their stages.

Shapes: B samples, C classes, C_s channels of stage s.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


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
        # As pixels lie (shared/pixels/view.py), so that no layer turns its input round: a step
        # takes 0.8 of the time (tests/bench/step.py, CPU).
        self.to(memory_format=torch.channels_last)
        self.architecture = architecture
        self.stem = stem
        self.num_classes = num_classes


def channel_means(maps: Tensor) -> Tensor:
    """(B, C, H, W) of any precision -> float32 (B, C): what teacher, student and head all read.

    The bits of `mean`, but a gradient that is spread without being copied. With `mean`, cached / CE
    was 1.059 and 1.072 instead of 1.045 and 1.051 (tests/bench/step.py, CPU).
    """
    return maps.sum(dim=(2, 3), dtype=torch.float32) / (maps.shape[2] * maps.shape[3])


@dataclass(frozen=True)
class Outputs:
    """All that a network says of B samples; what each kind of target is read from."""

    stages: tuple[Tensor, ...]  # (B, C_s, H_s, W_s) after ReLU, of any precision
    means: tuple[Tensor, ...]  # (B, C_s) float32: of every channel of every stage
    embedding: Tensor  # (B, D) float32: what the last linear layer reads
    logits: Tensor  # (B, C) float32
