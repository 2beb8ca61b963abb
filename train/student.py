"""The student: a staged model and one connector a stage, which meets the teacher's channels.

Shapes: B samples, C classes, C_s channels of the teacher's stage s.
"""

import torch
from torch import Tensor, nn

from shared.errors import InputError
from shared.models.build import build_model
from shared.models.staged import StagedModel, channel_means
from train.batch import StudentOutputs


class Student(nn.Module):
    """`backbone` alone is the product; the connectors only serve the loss and are thrown away."""

    def __init__(self, backbone: StagedModel, teacher_channels: tuple[int, ...]) -> None:
        """Without `teacher_channels` there are no connectors and `channels` is ().

        InputError where student and teacher have other numbers of stages.
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
        """(B, 3, H, W) normalised -> logits (B, C) and the connectors' spatial means."""
        # A connector runs as soon as its stage has: in both directions the stage's output is then
        # still in the processor's cache (tests/bench/step.py: 2 of 100 of a step's time).
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
    """Initial weights are a function of `seed`; the backbone's do not depend on the connectors."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = build_model(architecture, classes, stem)
        return Student(backbone, teacher_channels)


def place_student(student: Student, device: torch.device) -> None:
    """Moves it to the device, its weights laid out as training reads them there.

    cuDNN wants channels last, like the pixels. On a CPU the backward pass makes gradients of
    channels-last weights as planes and copies them: without that a step on 4 images of 32 px takes
    0.75 of the time, on 32 of them 0.9, and at 224 px it makes no difference (medians of
    tests/bench/layout.py). The outputs have the same bits.
    """
    on_gpu = device.type == "cuda"
    layout = torch.channels_last if on_gpu else torch.contiguous_format
    student.to(device=device, memory_format=layout)  # type: ignore[call-overload]  # torch's stubs
