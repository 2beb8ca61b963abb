"""Staged models: networks that also return the output of each of their stages.

`build_model` (build.py) makes them from a name. Teacher and student both use this one interface, so
no other code needs to know which library a network comes from.

Shapes: B samples, C classes, D numbers of the embedding, C_s channels of stage s.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

AtStage = Callable[[int, Tensor], Any]


def keep(stage: int, maps: Tensor) -> Tensor:
    """For `StagedModel.run`: return the stage's output itself."""
    return maps


@dataclass(frozen=True)
class Run:
    """One forward pass. Precision is that of the network, which autocast may lower."""

    stages: tuple[Any, ...]  # what `at_stage` returned for each stage
    embedding: Tensor  # (B, D): the input of the last linear layer
    logits: Tensor  # (B, C)


class StagedModel(nn.Module):
    """The interface that all networks share."""

    architecture: str  # as the user names it
    stem: str
    num_classes: int
    stage_modules: tuple[str, ...] | None = None  # None: fixed; () : its own method `stages`
    channels: tuple[int, ...]  # C_s
    stride: int  # pixels of the input per pixel of the last stage
    embedding_width: int  # D
    pooled: bool  # whether the embedding is the mean of the last stage's output, bit for bit
    signed: bool  # whether stages or embedding can be negative
    is_linear: bool  # whether the logits are a linear function of the embedding, bit for bit
    composition: Any = None  # how it is composed of several, see train/composition.py

    @property
    def network(self) -> nn.Module:
        """The plain module as its library knows it; its state dict is what best.pt holds."""
        return self

    @property
    def last_layer(self) -> nn.Linear | None:
        """The last linear layer; None if there is none."""
        raise NotImplementedError

    @property
    def linear_head(self) -> nn.Linear | None:
        """The last linear layer if logits == linear_head(embedding), bit for bit; else None."""
        return self.last_layer if self.is_linear else None

    def settle(self, x: Tensor) -> None:
        """Finds out, from images in eval mode, how the network's head is to be run. Called again
        when the weights have changed."""

    def run(self, x: Tensor, at_stage: AtStage = keep) -> Run:
        """(B, 3, H, W) normalised -> stages, embedding and logits.

        `at_stage(s, maps)` gets each stage's output (B, C_s, H_s, W_s), and `Run.stages` holds what
        it returns. Networks written here call it as soon as a stage has run, while the output is
        still in the processor's cache.
        """
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) normalised -> logits (B, C)."""
        return self.run(x, drop).logits


def drop(stage: int, maps: Tensor) -> None:
    """For `StagedModel.run`: keep nothing of the stages."""


def channel_means(maps: Tensor) -> Tensor:
    """(B, C, H, W) of any precision -> float32 (B, C): what teacher, student and head all read.

    The bits of `mean`, but with a gradient that is expanded without a copy. With `mean`, cached /
    CE was 1.059 and 1.072 instead of 1.045 and 1.051 (tests/bench/step.py, CPU).
    """
    return maps.sum(dim=(2, 3), dtype=torch.float32) / (maps.shape[2] * maps.shape[3])


@dataclass(frozen=True)
class Outputs:
    """Everything a network says about B samples. Every kind of target is computed from this."""

    stages: tuple[Tensor, ...]  # (B, C_s, H_s, W_s), of any precision
    means: tuple[Tensor, ...]  # (B, C_s) float32: the mean of every channel of every stage
    embedding: Tensor  # (B, D) float32: the input of the last linear layer
    logits: Tensor  # (B, C) float32
