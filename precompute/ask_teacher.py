"""Runs the teacher on a batch and encodes what it says, with images that do not decode left out."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from precompute.job import Job
from precompute.open_block import OpenBlock
from shared.errors import InputError
from shared.records.teacher_batches import least_batch
from shared.targets.encoding import Fields
from shared.targets.targets import Targets


def ask(
    job: Job, block: OpenBlock, rows: range, pixels: Tensor, bad: Sequence[int]
) -> tuple[Fields, NDArray[np.int32]]:
    """(fields, predictions) of the rows of a block. Bad images have fields 0 and prediction -1."""
    targets = _targets(job, block, rows, pixels, bad)
    finite = torch.stack([values.isfinite().flatten(1).all(1) for values in targets.values()])
    if not finite.all():
        row = int(finite.all(0).cpu().int().argmin())
        raise InputError(
            f"the teacher's outputs for {_key(job, block, rows[row])} are not finite: check the "
            f"weights, or use --precision fp32"
        )
    fields = job.manifest.encoding.encode(targets, block.kinds)
    pred = targets["logits"].argmax(1).cpu().numpy().astype(np.int32)
    pred[bad] = -1
    for values in fields.values():
        values[bad] = 0
    return fields, pred


def _targets(
    job: Job, block: OpenBlock, rows: range, pixels: Tensor, bad: Sequence[int]
) -> Targets:
    """The targets of a batch, one row per image; the rows of bad images are meaningless."""
    batch = job.manifest.teacher_batch
    if batch is None or not bad:
        return job.teacher(pixels, block.kinds)  # type: ignore[no-any-return]
    good = torch.tensor(sorted({*range(len(rows))} - {*bad}), dtype=torch.int64)
    if len(good) < (least := least_batch(batch)):
        raise InputError(
            f"only {len(good)} of the {len(rows)} images from {_key(job, block, rows.start)} on "
            f"decode, and --teacher-statistics batch needs {least} images or more in a batch, as "
            f"fewer make noisy statistics: restore the images, or use --teacher-statistics eval"
        )
    good = good.to(job.device)
    among = pixels[good].contiguous(memory_format=torch.channels_last)

    def among_all(values: Tensor) -> Tensor:
        return values.new_zeros(len(rows), *values.shape[1:]).index_copy(0, good, values)

    return {name: among_all(values) for name, values in job.teacher(among, block.kinds).items()}


def _key(job: Job, block: OpenBlock, row: int) -> str:
    return job.source.keys[int(job.manifest.samples_of(block.work.block)[row])]
