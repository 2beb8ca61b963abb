"""The teacher: a frozen staged model in eval mode, from uint8 pixels to Targets.

With statistics "eval" a sample's targets do not depend on the rest of its batch. The paper's code
leaves the teacher in train mode, where they do and where BatchNorm's running statistics drift. With
statistics "batch" the BatchNorm layers, and only those, behave as in train mode: they normalise
with the mean and variance of the batch. They neither read nor update the running statistics, so
the teacher's output follows from the batch alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, pad
from torch.nn.modules.batchnorm import _BatchNorm

from shared.choices import STATISTICS, TEACHER_PRECISIONS
from shared.errors import InputError
from shared.models.loaded import load_model
from shared.models.staged import Outputs, Run, StagedModel, channel_means
from shared.pixels.normalise import Normalisation
from shared.targets.codecs import Form
from shared.targets.kinds import BASE, Facts, kind_of
from shared.targets.targets import Head

# Matrix products choose a kernel by the number of rows, and use other kernels, which sum in another
# order, for the rows past the last multiple of its height. Padding convolutions to a multiple of
# _ROWS, and running the head on _ROWS rows at a time, gives a row the same bits in every batch (on
# CPUs; measured for ResNet-18, -34 and -50 with torch 2.15, tested by tests/test_batch_mates.py).
_ROWS = 16


class _BatchStatistics(nn.BatchNorm2d):
    """BatchNorm that uses the batch's statistics in eval mode too.

    The running statistics stay as they were, and part of the weights' digest. It computes what
    batch_norm(training=True) does, but sums over each image first. On a CPU torch sums all pixels
    of a channel one by one, in parts that depend on the number of threads, and so do the resulting
    bits. For 256 images of 32 px torch's error was up to 2e-3, and this one's 1e-6 (torch 2.15).
    """

    def forward(self, input: Tensor) -> Tensor:
        mean = channel_means(input).mean(0)
        variance = channel_means((input - mean[:, None, None]).square()).mean(0)
        return batch_norm(input, mean, variance, self.weight, self.bias, eps=self.eps)


def _use_batch_statistics(model: StagedModel) -> None:
    found = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    if not found or any(type(module) not in (nn.BatchNorm2d, _BatchStatistics) for module in found):
        kinds = ", ".join(sorted({type(module).__name__ for module in found})) or "none"
        raise InputError(
            f"--teacher-statistics batch needs a network whose normalisation is BatchNorm2d: "
            f"{model.architecture} has {kinds}; use --teacher-statistics eval"
        )
    for module in found:
        # Change the class in place, so that names in the state dict stay the same.
        module.__class__ = _BatchStatistics


class Teacher(nn.Module):
    def __init__(
        self,
        model: StagedModel,
        normalisation: Normalisation,
        precision: str,
        statistics: str = "eval",
        class_map: tuple[int, ...] | None = None,
    ) -> None:
        """Takes over `model`: freezes it and, with statistics "batch", changes its BatchNorm."""
        super().__init__()
        assert precision in TEACHER_PRECISIONS, precision
        assert statistics in STATISTICS, statistics
        self.model = model.requires_grad_(False).eval()
        self.normalisation = normalisation
        self.precision = precision
        self.statistics = statistics
        self.class_map = class_map
        if statistics == "batch":
            _use_batch_statistics(self.model)

    def train(self, mode: bool = True) -> "Teacher":
        """Stays in eval mode, even if a parent module's train() is called."""
        return super().train(False)

    @property
    def head(self) -> Head | None:
        """A copy of the last layer, on the CPU; None if the logits are not a linear function of the
        embedding."""
        layer = self.model.linear_head
        if layer is None:
            return None
        weight = layer.weight.detach().cpu().float()
        bias = torch.zeros(len(weight))
        if layer.bias is not None:
            bias = layer.bias.detach().cpu().float()
        return Head(self._of_data(weight, 0).clone(), self._of_data(bias, 0).clone())

    @property
    def classes(self) -> int:
        """C, after the choice of `class_map`."""
        return self.model.num_classes if self.class_map is None else len(self.class_map)

    @torch.no_grad()
    def forward(self, pixels: Tensor, kinds: Iterable[str] = BASE) -> dict[str, Tensor]:
        """(B, 3, H, W) uint8 on the teacher's device -> Targets of B rows: "logits" and `kinds`.

        With statistics "batch" the B rows are the batch, and B must be at least 2. Means and head
        run in float32 under either precision, so that logits == head(embedding) bit for bit (on a
        CPU: _ROWS rows at a time).
        """
        assert not self.model.training, "the teacher was put in train mode behind its back"
        rows = len(pixels)
        if self.statistics == "eval":  # padding would change a batch's statistics
            pixels = pad(pixels, (0,) * 7 + (-rows % _ROWS,))
        # Kernels follow the layout of pixels and weights. Here weights are channels last, but those
        # that NFNets standardise in each pass are not, so the pixels' layout must not vary.
        x = self.normalisation(pixels).contiguous(memory_format=torch.channels_last)
        with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            run = self.model.run(x)
        means = tuple(channel_means(maps) for maps in run.stages)
        embedding = means[-1] if self.model.pooled else run.embedding.float()
        outputs = Outputs(run.stages, means, embedding, self._logits(run, embedding))
        read = {"logits": outputs.logits, **{name: kind_of(name).read(outputs) for name in kinds}}
        # Laid out as decoded targets are: sums and gradients of a loss can depend on the layout.
        return {name: values[:rows].contiguous() for name, values in read.items()}

    def _logits(self, run: Run, embedding: Tensor) -> Tensor:
        layer = self.model.linear_head
        if layer is None:
            return self._of_data(run.logits.float(), 1)
        padded = pad(embedding, (0, 0, 0, -len(embedding) % _ROWS))
        logits = torch.cat([layer(part) for part in padded.split(_ROWS)])
        return self._of_data(logits, 1)

    def _of_data(self, values: Tensor, dim: int) -> Tensor:
        """Of the teacher's classes along `dim`, those that `class_map` names, in its order."""
        if self.class_map is None:
            return values
        return values.index_select(dim, torch.tensor(self.class_map, device=values.device))

    def facts(self, size: int) -> Facts:
        """The facts that determine the shapes of all kinds, for `size` x `size` pixels."""
        with torch.no_grad():
            device = next(self.model.parameters()).device
            stages = self.model.run(torch.zeros(2, 3, size, size, device=device)).stages
        maps = tuple((stage.shape[2], stage.shape[3]) for stage in stages)
        return Facts(self.classes, self.model.channels, maps, self.model.embedding_width)


def form_of(teacher: Teacher) -> Form:
    model = teacher.model
    return Form(model.pooled, model.linear_head is not None, model.signed)


@dataclass(frozen=True)
class TeacherChoice:
    """Which network with which weights, and how it is run."""

    architecture: str  # a name, see shared/models/names.py
    stem: str
    classes: int | None  # None: as many as the weights have
    weights: str
    size: int  # pixels a side of the views
    normalisation: Normalisation
    precision: str = "fp32"
    statistics: str = "eval"
    stage_modules: tuple[str, ...] | None = None
    class_map: tuple[int, ...] | None = None  # the teacher's class for each class of the data


def load_teacher(choice: TeacherChoice, device: torch.device) -> Teacher:
    """A teacher on `device`.

    Raises InputError if there is no such network, or the weights do not fit it.
    """
    model = load_model(
        choice.architecture,
        choice.weights,
        choice.classes,
        choice.stem,
        choice.size,
        choice.stage_modules,
    )
    if choice.class_map and max(choice.class_map) >= model.num_classes:
        raise InputError(
            f"--classes names class {max(choice.class_map)}, and {choice.architecture} has "
            f"{model.num_classes:,}, counted from 0: correct it"
        )
    teacher = Teacher(
        model, choice.normalisation, choice.precision, choice.statistics, choice.class_map
    )
    return teacher.to(device)
