"""The teacher: a frozen staged model in eval mode, from uint8 pixels to Targets.

With statistics "eval" a sample's targets do not depend on the rest of its batch. The paper's code
leaves the teacher in train mode, where they do and where BatchNorm's running statistics drift. With
statistics "batch" the BatchNorm layers, and only those, behave as in train mode: they normalise
with the mean and variance of the batch. They neither read nor update the running statistics, so
the teacher's output follows from the batch alone.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, pad

from shared.choices import STATISTICS, TEACHER_PRECISIONS
from shared.models.build import build_model, load_weights
from shared.models.staged import Outputs, StagedModel, channel_means
from shared.pixels.normalise import Normalisation
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


class Teacher(nn.Module):
    def __init__(
        self,
        model: StagedModel,
        normalisation: Normalisation,
        precision: str,
        statistics: str = "eval",
    ) -> None:
        """Takes over `model`: freezes it and, with statistics "batch", changes its BatchNorm."""
        super().__init__()
        assert precision in TEACHER_PRECISIONS, precision
        assert statistics in STATISTICS, statistics
        self.model = model.requires_grad_(False).eval()
        self.normalisation = normalisation
        self.precision = precision
        self.statistics = statistics
        if statistics == "batch":
            for module in self.model.modules():
                if isinstance(module, nn.BatchNorm2d):
                    # Change the class in place, so that names in the state dict stay the same.
                    module.__class__ = _BatchStatistics

    def train(self, mode: bool = True) -> "Teacher":
        """Stays in eval mode, even if a parent module's train() is called."""
        return super().train(False)

    @property
    def head(self) -> Head:
        """A copy of the last linear layer, on the CPU."""
        fc = self.model.fc
        return Head(fc.weight.detach().cpu().clone(), fc.bias.detach().cpu().clone())

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
        x = self.normalisation(pixels)
        with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            stages = self.model.stages(x)
        means = tuple(channel_means(stage) for stage in stages)
        last = pad(means[-1], (0, 0, 0, -len(x) % _ROWS))
        logits = torch.cat([self.model.head(part) for part in last.split(_ROWS)])
        outputs = Outputs(stages, means, means[-1], logits)
        read = {"logits": logits, **{name: kind_of(name).read(outputs) for name in kinds}}
        return {name: values[:rows] for name, values in read.items()}

    def facts(self, size: int) -> Facts:
        """The facts that determine the shapes of all kinds, for `size` x `size` pixels."""
        with torch.no_grad():
            device = next(self.model.parameters()).device
            stages = self.model.stages(torch.zeros(2, 3, size, size, device=device))
        maps = tuple((stage.shape[2], stage.shape[3]) for stage in stages)
        return Facts(self.model.num_classes, self.model.channels, maps)


def load_teacher(
    architecture: str,
    stem: str,
    classes: int,
    weights: str,
    normalisation: Normalisation,
    precision: str,
    device: torch.device,
    statistics: str = "eval",
) -> Teacher:
    """A teacher on `device`. Raises InputError if `weights` do not fit the architecture."""
    model = build_model(architecture, classes, stem)
    load_weights(model, weights)
    return Teacher(model, normalisation, precision, statistics).to(device)
