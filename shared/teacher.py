"""The teacher: a staged model, frozen, always in eval mode. uint8 pixels in, Targets out.

The paper's code leaves its teacher in train mode, where every output depends on the other images
of the batch and BatchNorm's statistics drift; nothing per sample could be cached then. Here the
teacher cannot leave eval mode, and a sample's targets do not depend on its batch-mates.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from shared.choices import TEACHER_PRECISIONS
from shared.errors import InputError
from shared.models import StagedModel, build_model, channel_means, load_weights, weights_digest
from shared.normalise import Normalisation
from shared.store.manifest import Manifest
from shared.targets import Head, Targets

# Matrix products choose their kernel by the number of rows, and treat the rows past the last
# multiple of its height with others, which sum in another order. Convolutions over whole multiples
# and a head over so many rows at a time give a row the same bits in every batch (CPU; measured for
# ResNet-18, -34 and -50 with torch 2.15; tests/test_teacher.py holds it).
_ROWS = 16


class Teacher(nn.Module):
    def __init__(self, model: StagedModel, normalisation: Normalisation, precision: str) -> None:
        super().__init__()
        assert precision in TEACHER_PRECISIONS, precision
        self.model = model.requires_grad_(False).eval()
        self.normalisation = normalisation
        self.precision = precision

    def train(self, mode: bool = True) -> "Teacher":
        """Stays in eval mode, whatever a parent module's train() asks for."""
        return super().train(False)

    @property
    def head(self) -> Head:
        """A copy of the last layer, on the CPU."""
        fc = self.model.fc
        return Head(fc.weight.detach().cpu().clone(), fc.bias.detach().cpu().clone())

    @torch.no_grad()
    def forward(self, pixels: Tensor) -> Targets:
        """(B, 3, H, W) uint8 on the teacher's device -> float32 Targets of B rows.

        Means and head run in float32 under either precision, so that
        logits == head(channels[-1]) holds bit for bit (CPU: over _ROWS rows at a time).
        """
        assert not self.model.training, "the teacher was put in train mode behind its back"
        rows = len(pixels)
        x = self.normalisation(pad(pixels, (0,) * 7 + (-rows % _ROWS,)))
        with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            stages = self.model.stages(x)
        means = [channel_means(stage) for stage in stages]
        logits = torch.cat([self.model.head(part) for part in means[-1].split(_ROWS)])
        return Targets(logits[:rows], tuple(mean[:rows] for mean in means))


def load_teacher(
    architecture: str,
    stem: str,
    classes: int,
    weights: str,
    normalisation: Normalisation,
    precision: str,
    device: torch.device,
) -> Teacher:
    """InputError where `weights` do not fit."""
    model = build_model(architecture, classes, stem)
    load_weights(model, weights)
    return Teacher(model, normalisation, precision).to(device)


def cached_teacher(manifest: Manifest, weights: str | None, device: torch.device) -> Teacher:
    """The live teacher that a cache was made with, from `weights` or from where they lay then.

    InputError where they are not the same weights.
    """
    facts = manifest.teacher
    weights = weights or facts.weights
    normalisation = Normalisation(manifest.mean, manifest.std)
    teacher = load_teacher(
        facts.architecture,
        facts.stem,
        facts.classes,
        weights,
        normalisation,
        manifest.precision,
        device,
    )
    if (digest := weights_digest(teacher.model)) != facts.sha256:
        raise InputError(
            f"the live teacher must be the cached one: the cache was made with weights of sha256 "
            f"{facts.sha256[:12]}, {weights} has {digest[:12]}; give the same file with --weights"
        )
    return teacher
