"""Checks the flags that --teacher-statistics batch depends on: format, batch and block size.

Its fixed batches must be random draws of all images.
"""

import argparse

from shared.errors import InputError
from shared.images.source import ImageSource
from shared.records.manifest_schema import ORDERS
from shared.records.teacher_batches import TEACHER_BATCH, fitting_block, least_batch, misfit


def require_fixed_batches(flags: argparse.Namespace) -> None:
    """Raises InputError unless the flags give fixed batches that are random draws."""
    if ORDERS[flags.format] != "permuted":
        raise InputError(
            f"--teacher-statistics batch needs batches that are random draws of all images: the "
            f"format {flags.format} keeps the order of the source, which may be sorted by class; "
            f"use --format webdataset"
        )
    if flags.batch_size != TEACHER_BATCH:
        raise InputError(
            f"--batch-size must be {TEACHER_BATCH} with --teacher-statistics batch, where every "
            f"target depends on its batch: got {flags.batch_size}; leave it out"
        )


def block_of_batches(source: ImageSource, asked: int | None, usual: int) -> int:
    """The block size `asked`, or else the smallest from `usual` on that holds whole batches.

    Raises InputError if `asked` does not hold whole batches, or if there are too few images for one
    batch.
    """
    samples, least = len(source), least_batch(TEACHER_BATCH)
    if samples < least:
        raise InputError(
            f"--teacher-statistics batch needs {least} images or more, as fewer make noisy "
            f"statistics: {source.spec} has {samples} in this split; use --teacher-statistics eval"
        )
    fitting = fitting_block(samples, asked or usual, TEACHER_BATCH)
    if asked and (wrong := misfit(samples, asked, TEACHER_BATCH)):
        raise InputError(f"with --teacher-statistics batch {wrong}; use --block {fitting}")
    return fitting
