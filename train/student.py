"""The student: a staged model with a connector per stage that maps to the teacher's channels.

Shapes: B samples, C classes, C_s channels in the teacher's stage s.
"""

import torch
from torch import Tensor, nn

from shared.errors import InputError
from shared.models.build import build_model
from shared.models.staged import StagedModel, channel_means
from train.batch import StudentOutputs


class Student(nn.Module):
    """The network to train (`backbone`), and connectors, which only the loss uses."""

    def __init__(self, backbone: StagedModel, teacher_channels: tuple[int, ...]) -> None:
        """If `teacher_channels` is empty, there are no connectors and output `channels` is ().

        Raises InputError if student and teacher have different numbers of stages.
        """
        super().__init__()
        if teacher_channels and len(teacher_channels) != len(backbone.channels):
            raise InputError(
                f"{backbone.architecture} has {len(backbone.channels)} stages and the cached "
                f"teacher {len(teacher_channels)}, and channel distillation pairs them: give a "
                f"--student with as many, or a recipe without cd"
            )
        self.backbone = backbone
        self.connectors = nn.ModuleList(
            _connector(width, wanted)
            for width, wanted in zip(backbone.channels, teacher_channels, strict=False)
        )

    def forward(self, x: Tensor) -> StudentOutputs:
        """Normalised (B, 3, H, W) -> logits (B, C) and the spatial means of the connectors."""
        # Run each connector right after its stage: in both directions the stage's output is then
        # still in the processor's cache, which saves 2 % of a step's time (tests/bench/step.py).
        x = self.backbone.enter(x)
        means = []
        for position, layer in enumerate(self.backbone.layers):
            x = layer(x)
            if self.connectors:
                means.append(channel_means(self.connectors[position](x)))
        return StudentOutputs(self.backbone.head(channel_means(x)), tuple(means))


def _connector(width: int, wanted: int) -> nn.Module:
    """1x1 convolution, BatchNorm, ReLU, as in the paper's code."""
    return nn.Sequential(
        nn.Conv2d(width, wanted, kernel_size=1, bias=False),
        nn.BatchNorm2d(wanted),
        nn.ReLU(inplace=True),
    )


def build_student(
    architecture: str, stem: str, classes: int, teacher_channels: tuple[int, ...], seed: int
) -> Student:
    """Initial weights depend on `seed` only; the backbone's do not depend on the connectors."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = build_model(architecture, classes, stem)
        return Student(backbone, teacher_channels)


def place_student(student: Student, device: torch.device) -> None:
    """Moves the student to the device, with weights in the memory layout that is fastest there.

    On a GPU cuDNN prefers channels last, like the pixels. On a CPU the backward pass computes
    gradients of channels-last weights in the contiguous layout and copies them. Contiguous weights
    avoid the copy: a step on 4 images of 32 px takes 0.75 of the time, on 32 images 0.9, and at 224
    px there is no difference (medians of tests/bench/layout.py). The outputs have the same bits.
    """
    on_gpu = device.type == "cuda"
    layout = torch.channels_last if on_gpu else torch.contiguous_format
    student.to(device=device, memory_format=layout)  # type: ignore[call-overload]  # torch's stubs
