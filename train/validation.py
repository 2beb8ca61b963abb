"""Validation at the end of an epoch: in which epochs, of which weights, and its record.

With averaged weights (EMA), these are judged: they decide which epoch is the best one. The raw
weights are evaluated on the same batches, so that the images are loaded and normalised once.
"""

import time
from typing import Any

from shared.distributed import share_buffers
from train.accuracy import Accuracy, evaluate_all
from train.input import Input
from train.setup import Setup
from train.state import TrainState


def is_due(epoch: int, epochs: int, every: int) -> bool:
    """Whether `epoch` is validated: every so many epochs, and always the last one."""
    return (epoch + 1) % every == 0 or epoch + 1 == epochs


def validate(
    setup: Setup, feed: Input, state: TrainState, epoch: int
) -> tuple[dict[str, Any], Accuracy]:
    """The val record of an epoch, and the result of the judged weights.

    All processes must call it.
    """
    started = time.perf_counter()
    share_buffers(setup.student, setup.world, setup.device)
    if state.average is not None:
        share_buffers(state.average.module, setup.world, setup.device)
    judged, *raw = evaluate_all(
        state.evaluated, feed.val_batches(), setup.normalisation, setup.device, feed.val_world,
        setup.precision, feed.val_rows if state.is_compiled else 0,
    )  # fmt: skip
    seconds = time.perf_counter() - started
    record: dict[str, Any] = {
        "epoch": epoch, "split": "val", "top1": judged.top1, "top5": judged.top5,
        "cross_entropy": judged.cross_entropy,
        "precision": setup.precision, "undecodable": judged.undecodable,
        "images_per_second": judged.samples / seconds, "seconds": seconds,
    }  # fmt: skip
    if raw:
        record["raw"] = {
            "top1": raw[0].top1, "top5": raw[0].top5, "cross_entropy": raw[0].cross_entropy
        }  # fmt: skip
    return record, judged


def in_words(record: dict[str, Any] | None) -> str:
    """The part of an epoch's line about a val record, which may be missing."""
    if record is None:
        return ""
    raw, loss = record.get("raw"), record.get("cross_entropy")
    told = "" if loss is None else f"val loss {loss:.4f}, "
    return f"{told}val top-1 {record['top1']:.2f}% top-5 {record['top5']:.2f}%" + (
        f" (raw weights {raw['top1']:.2f}% {raw['top5']:.2f}%), " if raw else ", "
    )
