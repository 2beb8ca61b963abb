"""Targets of real images for codecs.py, with logits of 1000 classes."""

import argparse

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import linear

from shared.images.source import open_source
from shared.loaders.pixel_loader import Draw, PixelLoader, Request
from shared.pixels.normalise import NORMALISATIONS
from shared.targets.targets import Head, Targets
from shared.targets.teacher import TeacherChoice, load_teacher
from tests.said import stages_of

CLASSES = 1000
LOGIT_DEVIATION = 2.7  # within a row: ResNet-34 on ImageNet, about
LOGIT_MAXIMUM = 15.0  # of a row, likewise
BATCH = 64


def make_targets(flags: argparse.Namespace) -> tuple[Targets, tuple[int, ...], Head]:
    """`flags.views` views of a source: all images in their view 0, then in view 1, ...; and the
    widths of the stages."""
    source = open_source(flags.images, "train")
    torch_classes = len(torch.load(flags.weights, map_location="cpu", weights_only=True)["fc.bias"])
    size, policy = flags.size or source.size or 224, source.policy or "random-resized-crop"
    choice = TeacherChoice(
        flags.teacher, flags.stem, torch_classes, flags.weights, size, NORMALISATIONS[flags.stem]
    )
    teacher = load_teacher(choice, torch.device("cpu"))
    loader = PixelLoader((source,), size, workers=0, pin_memory=False)
    places = np.arange(flags.views)
    requests = [
        Request(0, part % len(source), Draw(policy, 0, view))
        for view in range(-(-flags.views // len(source)))
        for part in _parts(places[places // len(source) == view])
    ]
    parts = [teacher(batch.pixels) for batch in loader.batches(requests)]
    channels = torch.cat([part["channels"] for part in parts])
    stages = teacher.model.channels
    last = channels[:, -stages[-1] :]
    head = teacher.head if torch_classes >= CLASSES else fit_head(last)
    logits = linear(last, head.weight, head.bias)
    return {"logits": logits, "channels": channels}, stages, head


def _parts(index: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return np.split(index, range(BATCH, len(index), BATCH))


def fit_head(means: Tensor) -> Head:
    """1000 classes for stage-4 means (B, C_4): ridge discriminants of 1000 of the views.

    The ridge is the largest that gives the wanted ratio of a row's maximum and deviation.
    """
    means = means.double()
    centre = means.mean(0)
    centred = means - centre
    variances, axes = torch.linalg.eigh(centred.T @ centred / len(means))
    generator = torch.Generator().manual_seed(0)
    prototypes = centred[torch.randint(len(means), (CLASSES,), generator=generator)] @ axes
    ridge = variances.max()
    while True:
        weight = prototypes / (variances + ridge) @ axes.T
        logits = centred @ weight.T
        scale = LOGIT_DEVIATION / logits.std(1).mean()
        enough = scale * logits.amax(1).mean() >= LOGIT_MAXIMUM
        if enough or ridge < 1e-4 * variances.max():
            weight *= scale
            return Head(weight.float(), -(weight @ centre).float())
        ridge /= 1.1


def describe(
    flags: argparse.Namespace, targets: Targets, stages: tuple[int, ...], head: Head
) -> str:
    logits = targets["logits"]
    return (
        f"{len(logits):,} views of {flags.images} through {flags.teacher} {flags.weights}; "
        f"{logits.shape[1]} logits: deviation in a row {logits.std(1).mean():.2f}, maximum "
        f"{logits.amax(1).mean():.1f}, largest probability {logits.softmax(1).amax(1).mean():.2f}, "
        f"norm of a head row {head.weight.norm(dim=1).mean():.2f}; zeros in the stages' means "
        + ", ".join(f"{100 * (m == 0).float().mean():.0f} %" for m in stages_of(targets, stages))
    )
