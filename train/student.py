"""The student: a staged model with connectors that map its stages to the teacher's channels.

Shapes: B samples, C classes, C_s channels in the teacher's stage s.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from shared.models.build import USUAL_SIZE
from shared.models.staged import StagedModel, channel_means
from shared.targets.targets import Targets
from train.batch import Met, StudentOutputs
from train.composed import build_network, load_init
from train.composition import Composition
from train.pairing import Pairs, pair_stages
from train.parts import EMBEDDING, TARGET, Part


class Student(nn.Module):
    """The network to train (`backbone`), and connectors, which only the loss uses."""

    def __init__(
        self,
        backbone: StagedModel,
        teacher_channels: tuple[int, ...],
        pairs: Pairs | None = None,
        signed: bool = False,
        parts: Mapping[str, Part] | None = None,
    ) -> None:
        """If `teacher_channels` is empty, there are no connectors and output `channels` is ().
        `pairs`: the stages that meet; None pairs them from the last one backwards. `signed`:
        whether the teacher's stages can be negative. `parts`: what losses ask for.
        """
        super().__init__()
        if pairs is None:
            pairs = pair_stages(None, len(teacher_channels), len(backbone.channels))
        self.backbone = backbone
        self.connectors = nn.ModuleList(
            connector(backbone.channels[mine], teacher_channels[theirs], signed)
            for theirs, mine in pairs
        )
        self._connector_of = {mine: position for position, (_, mine) in enumerate(pairs)}
        stages = tuple(theirs for theirs, _ in pairs)
        self._met = None
        if stages != tuple(range(len(teacher_channels))):
            self._met = Met(stages, teacher_channels)
        parts = parts or {}
        self.parts = nn.ModuleDict({name: part.module for name, part in parts.items()})
        self._reads = {name: part.reads for name, part in parts.items()}

    def forward(self, x: Tensor, targets: Targets | None = None) -> StudentOutputs:
        """Normalised (B, 3, H, W) -> logits (B, C), the spatial means of the connectors, and what
        the parts say. `targets`: the teacher's, which some parts read."""
        # Run each connector right after its stage: in both directions the stage's output is then
        # still in the processor's cache, which saves 2 % of a step's time (tests/bench/step.py).
        run = self.backbone.run(x, self._at_stage)
        means = tuple(mean for mean, _ in run.stages if mean is not None)
        said = {name: value for _, found in run.stages for name, value in found.items()}
        said |= self._read(EMBEDDING, run.embedding)
        for kind, values in (targets or {}).items():
            said |= self._read(TARGET + kind, values)
        return StudentOutputs(run.logits, means, self._met, run.embedding, said)

    def _at_stage(self, stage: int, maps: Tensor) -> tuple[Tensor | None, dict[str, Tensor]]:
        position = self._connector_of.get(stage)
        mean = None if position is None else channel_means(self.connectors[position](maps))
        return mean, self._read(stage, maps)

    def _read(self, source: int | str, values: Tensor) -> dict[str, Tensor]:
        """What the parts say that read `source`."""
        return {
            name: module(values)
            for name, module in self.parts.items()
            if self._reads[name] == source
        }


def connector(width: int, wanted: int, signed: bool) -> nn.Module:
    """1x1 convolution, BatchNorm, ReLU, as in the paper's code; no ReLU for a teacher whose stages
    can be negative, as it could not meet those."""
    layers = [nn.Conv2d(width, wanted, kernel_size=1, bias=False), nn.BatchNorm2d(wanted)]
    return nn.Sequential(*layers, *([] if signed else [nn.ReLU(inplace=True)]))


@dataclass(frozen=True)
class StudentChoice:
    """Which network, with which weights to begin with."""

    architecture: str  # a name, see shared/models/names.py
    stem: str
    classes: int
    size: int = USUAL_SIZE  # pixels a side of the views
    stage_modules: tuple[str, ...] | None = None
    init: str | None = None  # weights as in --weights; None: new ones
    composition: Composition | None = None  # of networks; None: the network itself


def build_student(
    choice: StudentChoice,
    teacher_channels: tuple[int, ...],
    seed: int,
    stages: str | None = None,
    signed: bool = False,
    parts: Callable[[StagedModel], Mapping[str, Part]] | None = None,
) -> Student:
    """New weights depend on `seed` only; the backbone's do not depend on the rest. `stages`: see
    train/pairing.py. `signed`: whether the teacher's stages can be negative. `parts`: what losses
    ask for, once the network is there.

    Raises InputError if there is no such network, or it lacks stages that `stages` names.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = build_network(
            choice.architecture,
            choice.classes,
            choice.stem,
            choice.size,
            choice.stage_modules,
            choice.composition,
        )
        if choice.init is not None:
            load_init(backbone, choice.init)
        pairs = pair_stages(stages, len(teacher_channels), len(backbone.channels))
        extra = None if parts is None else parts(backbone)
        return Student(backbone, teacher_channels, pairs, signed, extra)


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
