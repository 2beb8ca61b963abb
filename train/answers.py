"""The val split for train/eval.py in batches, with the right answers and the teacher's.

Images come from a source or from view shards; the teacher's answers from a cached val split. View
shards do not contain images that precompute skipped: those are reported but not counted.

Shapes: B samples in a batch, images of S x S pixels, C classes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from shared.choices import has_one_view
from shared.epochs.images import open_images
from shared.epochs.val_batches import image_batches
from shared.errors import InputError, note
from shared.images.source import ImageSource
from shared.loaders.pixel_loader import PixelLoader
from shared.loaders.shard_loader import ShardLoader
from shared.store.checks import (
    require_classes_of_images,
    require_pixels,
    require_source,
    require_targets,
)
from shared.store.opening import Cache
from train.checkpoint import val_policy

BATCH = 256


@dataclass(frozen=True)
class Answers:
    """A batch with the right answers and the teacher's."""

    pixels: Tensor  # (B, 3, S, S) uint8
    labels: Tensor  # (B,) int64; -1: the image does not decode
    logits: Tensor | None = None  # (B, C) float32: the cached logits of the teacher
    pred: Tensor | None = None  # (B,) int64: the teacher's top-1; -1: precompute skipped the image


def without_teacher(images: str, facts: dict[str, Any], workers: int) -> Iterator[Answers]:
    source = open_images(images, "val")
    _require_trained_for(facts, len(source.classes), facts["size"], source.spec)
    loader = PixelLoader((source,), facts["size"], workers, pin_memory=False)
    return (
        Answers(*batch)
        for batch in image_batches(loader, 0, source, BATCH, policy=val_policy(facts))
    )


def with_teacher(
    cache: Cache, images: str | None, facts: dict[str, Any], workers: int
) -> Iterator[Answers]:
    manifest = cache.manifest
    _require_trained_for(facts, len(manifest.source.classes), manifest.size, cache.where)
    if not has_one_view(manifest.policy):
        raise InputError(
            f"{cache.where} holds views of policy {manifest.policy}, and the val split is seen in "
            f"its centre views: make it with precompute/run.py --split val"
        )
    cache.require_views()
    needs, user = frozenset({"logits"}), "agreement with the teacher"
    require_classes_of_images(cache, needs, user)
    require_targets(cache, needs, user)
    if manifest.statistics == "batch":
        note(
            f"the teacher of {cache.where} used the statistics of batches of "
            f"{manifest.teacher_batch} val images: agreement is with what it said in those"
        )
    if manifest.holds_pixels:
        if images is not None:
            raise InputError(
                f"--images {images} cannot be used with {cache.where}, whose view shards are "
                f"evaluated on the pixels that they hold: leave out one of the two"
            )
        require_pixels(cache, None)
        if skipped := cache.skipped():
            note(
                f"{cache.where} leaves out {len(skipped):,} of {manifest.samples:,} images, which "
                f"did not decode, first {skipped[0][1]}"
            )
        return _from_shards(cache, workers)
    source = open_images(images or manifest.source.spec, "val", limit=manifest.samples)
    require_source(cache, source)
    require_pixels(cache, source)
    return _from_images(cache, source, workers)


def _require_trained_for(facts: dict[str, Any], classes: int, size: int, where: str) -> None:
    if (facts["classes"], facts["size"]) != (classes, size):
        raise InputError(
            f"{where} has {classes} classes at {size} px, and the checkpoint was trained for "
            f"{facts['classes']} classes at {facts['size']} px: give the val split of the same "
            f"data and size"
        )


def _from_shards(cache: Cache, workers: int) -> Iterator[Answers]:
    encoding, head = cache.manifest.encoding, cache.head()
    needed = encoding.needed({"logits"})
    for batch in ShardLoader(cache, needed, BATCH, 0, workers, pin_memory=False).batches(0):
        logits = encoding.decode(batch.fields, head)["logits"]
        yield Answers(batch.pixels, batch.label, logits, batch.pred)


def _from_images(cache: Cache, source: ImageSource, workers: int) -> Iterator[Answers]:
    """The policy has one view per image, so the views drawn here equal those of the cache."""
    encoding, head = cache.manifest.encoding, cache.head()
    needed = encoding.needed({"logits"})
    loader = PixelLoader((source,), cache.manifest.size, workers, pin_memory=False)
    loader.start()  # before the arrays are loaded, which workers would inherit
    arrays = cache.read_view(0, [*needed, "pred"])
    start = 0
    for pixels, labels in image_batches(
        loader, 0, source, BATCH, policy=cache.manifest.view_policy
    ):
        rows = slice(start, start + len(labels))
        fields = {name: torch.from_numpy(arrays[name][rows]) for name in needed}
        pred = torch.from_numpy(arrays["pred"][rows]).long()
        yield Answers(pixels, labels, encoding.decode(fields, head)["logits"], pred)
        start += len(labels)
