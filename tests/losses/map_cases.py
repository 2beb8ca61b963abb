"""Losses on maps, with outputs of students and targets made of two random sets of maps."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from shared.models.staged import Outputs
from shared.targets.kinds import Facts, kind_of
from shared.targets.targets import Head
from train.batch import Batch, Fixed, StudentOutputs
from train.losses import AT, CATKD, FitNets, Loss, MapMatching, ResidualKD, WKDMaps
from train.parts import Meeting

CLASSES, WIDTHS = 5, (2, 3)  # of the teacher's stages
LOSSES: tuple[Loss, ...] = (
    *(AT((1, 2)), FitNets(1), FitNets(2, beta=0.4), MapMatching(2), ResidualKD((1, 2))),
    *(WKDMaps(), WKDMaps(beta=0.4), CATKD()),
)


def maps(seed: int, samples: int, sides: tuple[int, ...] = (8, 7)) -> tuple[Tensor, ...]:
    rng = torch.Generator().manual_seed(seed)
    return tuple(
        torch.randn(samples, width, side, side, generator=rng).relu()
        for width, side in zip(WIDTHS, sides, strict=True)
    )


def head(seed: int) -> nn.Linear:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Linear(WIDTHS[-1], CLASSES)


def batch_of(stages: tuple[Tensor, ...], needs: frozenset[str], parts: int = 1) -> Batch:
    """What a teacher with these maps says; with `parts`, counts as one of so many processes."""
    outputs = Outputs(stages, (), torch.empty(0), torch.empty(0))
    kinds = needs - {"spread", "head"}
    linear = head(9)
    fixed = Fixed(
        spread=tuple(0.5 + torch.arange(width) / 4 for width in WIDTHS),
        head=Head(linear.weight.detach(), linear.bias.detach()),
    )
    samples = len(stages[0])
    targets = {name: kind_of(name).read(outputs) for name in kinds}
    labels = torch.zeros(samples, dtype=torch.long)
    return Batch(labels, targets, None, samples / parts, 0.0, fixed)


def meeting(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...], loss: Loss) -> Meeting:
    mine, teacher = (
        Facts(
            CLASSES,
            tuple(stage.shape[1] for stage in stages),
            tuple((stage.shape[2], stage.shape[3]) for stage in stages),
            stages[-1].shape[1],
        )
        for stages in (ours, theirs)
    )
    first = len(ours) - len(theirs)
    return Meeting(
        student=mine,
        head=head(7),
        channels=teacher.channels,
        shapes={name: kind_of(name).shape(teacher) for name in loss.needs - {"spread", "head"}},
        pairs=tuple((stage, first + stage) for stage in range(len(theirs))),
        signed=False,
    )


def parts_of(loss: Loss, ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...]) -> StudentOutputs:
    """The student's side, as Student runs it; regressors are left out, so that the maps themselves
    meet the teacher's."""
    said = {}
    for name, part in loss.parts(meeting(ours, theirs, loss)).items():
        assert isinstance(part.reads, int)
        module = nn.Identity() if name.startswith("regressed") else part.module
        said[name] = module(ours[part.reads])
    return StudentOutputs(torch.zeros(len(ours[0]), CLASSES), (), parts=said)


def value(
    loss: Loss, ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...], count: float | None = None
) -> Tensor:
    batch = batch_of(theirs, loss.needs)
    batch = batch if count is None else replace(batch, count=count)
    return loss(parts_of(loss, ours, theirs), batch)


def student_maps(loss: Loss, seed: int, samples: int) -> tuple[Tensor, ...]:
    """Those of a split network for ResidualKD: its student's, then as many sums."""
    found = maps(seed, samples)
    return (*found, *maps(seed + 1, samples)) if isinstance(loss, ResidualKD) else found


def cell_pixels(values: np.ndarray, row: int, column: int) -> list[float]:
    """Of one cell of 4 x 4, as adaptive pooling cuts a map (H, W)."""
    height, width = values.shape
    rows = range(row * height // 4, -(-(row + 1) * height // 4))
    columns = range(column * width // 4, -(-(column + 1) * width // 4))
    return [float(values[y, x]) for y in rows for x in columns]
