"""The teacher: a staged model, frozen, always in eval mode. uint8 pixels in, Targets out.

With the statistics "eval" a sample's targets do not depend on its batch-mates. The paper's code
leaves its teacher in train mode, where they do, and BatchNorm's running statistics drift. With the
statistics "batch" its BatchNorm layers, and nothing else, are as they are there: they normalise
with the mean and the variance of the batch. They neither read nor move the running statistics, so
that what the teacher says follows from the batch alone.
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

# Matrix products choose their kernel by the number of rows, and treat the rows past the last
# multiple of its height with others, which sum in another order. Convolutions over whole multiples
# and a head over so many rows at a time give a row the same bits in every batch (CPU; measured for
# ResNet-18, -34 and -50 with torch 2.15; tests/test_batch_mates.py holds it).
_ROWS = 16


class _BatchStatistics(nn.BatchNorm2d):
    """Normalises with its batch in eval mode too. Its state stays as it was, and in the digest.

    What batch_norm(training=True) computes, but summed over each image first. On a CPU torch sums
    all pixels of a channel one by one, in parts that depend on the number of threads; so do its
    bits, and for 256 images of 32 px it was off by up to 2e-3, where this is by 1e-6 (torch 2.15).
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
        """`model` is the teacher's own from then on: it is frozen, and its BatchNorm changed."""
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
                    # Another module in its place would give its state other names.
                    module.__class__ = _BatchStatistics

    def train(self, mode: bool = True) -> "Teacher":
        """Stays in eval mode, whatever a parent module's train() asks for."""
        return super().train(False)

    @property
    def head(self) -> Head:
        """A copy of the last layer, on the CPU."""
        fc = self.model.fc
        return Head(fc.weight.detach().cpu().clone(), fc.bias.detach().cpu().clone())

    @torch.no_grad()
    def forward(self, pixels: Tensor, kinds: Iterable[str] = BASE) -> dict[str, Tensor]:
        """(B, 3, H, W) uint8 on the teacher's device -> Targets of B rows: "logits" and `kinds`.

        With the statistics "batch" the B rows are the batch; there must be two or more. Means and
        head run in float32 under either precision, so that logits == head(embedding) holds bit for
        bit (CPU: over _ROWS rows at a time).
        """
        assert not self.model.training, "the teacher was put in train mode behind its back"
        rows = len(pixels)
        if self.statistics == "eval":  # rows of padding would count in the statistics of a batch
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
        """What the shapes of its kinds follow from, for images of `size` pixels a side."""
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
    """InputError where `weights` do not fit."""
    model = build_model(architecture, classes, stem)
    load_weights(model, weights)
    return Teacher(model, normalisation, precision, statistics).to(device)
