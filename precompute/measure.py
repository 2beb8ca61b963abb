"""Measures what a precompute run takes, and training from its cache, for precompute/plan.py.

Making a cache takes views x (decode + teacher + encode) seconds per image. An epoch of training
from it saves the teacher's forward pass, but not decoding, which a live teacher needs as well. So
the cache has paid off after

    views x pipeline seconds / teacher seconds      epochs, of one student or several together,

if training is limited by the device and not by decoding.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy

from precompute.cache_bytes import CacheBytes, predict, predict_codecs
from precompute.decoding import Decoding, time_decoding, time_reading
from precompute.job import Job
from precompute.pipeline import pixels_of, seconds_of, spread_samples, time_pipeline
from shared.models.build import build_model
from shared.targets.tails import Tails, tails_of_fields

SECONDS = 4.0  # for each of the measurements


@dataclass(frozen=True)
class Costs:
    """The measurements. Times are in seconds per view."""

    views: int  # number of views measured
    size: CacheBytes
    codecs: dict[str, float]  # codec -> bytes of the files of a view
    pipeline: float  # decode + teacher, with encoding in the background
    group: int  # views per image that were drawn from one decoding for this
    decoding: Decoding
    encoding: float  # of one core
    reading: float  # to decode the targets of a view, on one core
    teacher: float  # the teacher's forward pass alone
    student: float  # ResNet-18 forward and backward
    tails: Tails | None  # of the channel means in the first view; None if they are not kept


def measure(job: Job, skip_bad: float | None) -> Costs:
    """Raises InputError if more than the share `skip_bad` of images (None: any) do not decode."""
    manifest = job.manifest
    found = time_pipeline(job, skip_bad, SECONDS)
    seen = time_decoding(job, SECONDS)
    tails = None
    if found.first_view:
        tails = tails_of_fields(manifest.encoding, manifest.teacher.channels, found.first_view)
    pixels = pixels_of(job, spread_samples(job.source, found.batch), found.batch)
    kinds = manifest.encoding.names
    teacher = seconds_of(job.device, lambda: job.teacher(pixels, kinds), SECONDS) / found.batch
    student = seconds_of(job.device, _student_step(job, pixels), SECONDS) / found.batch
    targets = {name: values.cpu() for name, values in job.teacher(pixels, kinds).items()}
    return Costs(
        views=found.views,
        size=predict(job, found.blocks, seen, tails),
        codecs=predict_codecs(manifest, found.blocks, targets, seen),
        # The teacher is part of the pipeline, so only noise can make it slower than the whole.
        pipeline=max(found.seconds, teacher),
        group=found.group,
        decoding=seen,
        encoding=found.encoding,
        reading=time_reading(manifest, found.blocks),
        teacher=teacher,
        student=student,
        tails=tails,
    )


def _student_step(job: Job, pixels: torch.Tensor) -> Callable[[], object]:
    facts = job.manifest.teacher
    student = build_model("resnet18", facts.classes, facts.stem).to(job.device)
    x = job.teacher.normalisation(pixels)
    labels = torch.zeros(len(x), dtype=torch.int64, device=x.device)

    def step() -> None:
        student.zero_grad()
        cross_entropy(student(x), labels).backward()

    return step
