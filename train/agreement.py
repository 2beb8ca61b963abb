"""Evaluates a student for train/eval.py: top-1, top-5, and agreement with its teacher.

The run.json beside the checkpoint says what the network is and on which images it was trained.
Agreement needs a cached val split (precompute/run.py --split val). It is the share of images where
student and teacher have the same top-1, and the mean KL(teacher || student) in nats.

An image that does not decode counts as wrong for accuracy, and is left out of agreement. View
shards do not contain such images: those that precompute skipped are reported but not counted. If
the teacher used batch statistics, its outputs depend on the batches in the cache, which are random
samples of the split. Agreement is with those outputs, and a note says so.

Shapes: B samples in a batch, images of S x S pixels, C classes.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax
from tqdm import tqdm

from shared.cache.checks import require_pixels, require_source, require_targets
from shared.cache.opening import Cache, has_split, open_cache
from shared.choices import has_one_view
from shared.device import default_workers, pick_device
from shared.errors import InputError, note
from shared.images.source import ImageSource, default_source
from shared.loaders.pixel_loader import PixelLoader
from shared.loaders.shard_loader import ShardLoader
from shared.models.staged import StagedModel
from shared.pixels.normalise import Normalisation
from train.accuracy import correct, image_batches
from train.checkpoint import load_student, run_of
from train.images import open_images
from train.step import autocast

BATCH = 256


@dataclass(frozen=True)
class Answers:
    """A batch with the right answers and the teacher's."""

    pixels: Tensor  # (B, 3, S, S) uint8
    labels: Tensor  # (B,) int64; -1: the image does not decode
    logits: Tensor | None = None  # (B, C) float32: the cached logits of the teacher
    pred: Tensor | None = None  # (B,) int64: the teacher's top-1; -1: precompute skipped the image


def evaluate_checkpoint(flags: argparse.Namespace) -> int:
    if flags.workers is not None and flags.workers < 0:
        raise InputError(f"--workers must be 0 or more: got {flags.workers}")
    run = run_of(flags.checkpoint)
    facts = run["model"]
    device = pick_device(flags.device)
    workers = default_workers(device) if flags.workers is None else flags.workers
    model = load_student(flags.checkpoint, facts).to(device).eval()
    normalise = Normalisation(tuple(facts["mean"]), tuple(facts["std"]))
    if flags.cache is None:
        batches = _without_teacher(flags.images or _images_of(run), facts, workers)
    else:
        batches = _with_teacher(open_cache(flags.cache, "val"), flags.images, facts, workers)
    precision = run["identity"].get("precision") or "fp32"
    print(evaluate_with_teacher(model, normalise, batches, device, precision))
    return 0


@torch.no_grad()
def evaluate_with_teacher(
    model: StagedModel,
    normalise: Normalisation,
    batches: Iterator[Answers],
    device: torch.device,
    precision: str = "fp32",
) -> str:
    """One line with top-1, top-5 and, if the batches have the teacher's outputs, agreement."""
    right = torch.zeros(2, device=device)
    agree = divergence = torch.zeros((), device=device)
    seen = bad = judged = 0
    for batch in tqdm(batches, leave=False, disable=None):
        x = normalise(batch.pixels.to(device))
        with autocast(device, precision):
            logits = model(x)[0]
        logits = logits.float()
        right += correct(logits, batch.labels.to(device))
        seen += len(batch.labels)
        bad += int((batch.labels < 0).sum())
        if batch.logits is not None and batch.pred is not None:
            both = (batch.pred >= 0) & (batch.labels >= 0)
            logits = logits[both.to(device)]
            agree = agree + (logits.argmax(1) == batch.pred[both].to(device)).sum()
            teacher = log_softmax(batch.logits[both].to(device), dim=1)
            student = log_softmax(logits, dim=1)
            divergence = divergence + kl_div(student, teacher, reduction="sum", log_target=True)
            judged += int(both.sum())
    top1, top5 = (100 * right / seen).tolist()
    text = f"val: {seen:,} images, top-1 {top1:.2f}%, top-5 {top5:.2f}%"
    if bad:
        text += f" (undecodable, counted as wrong: {bad:,})"
    if judged:
        mean = max(0.0, divergence.item() / judged)  # only rounding can make it negative
        text += (
            f"; agrees with the teacher's top-1 on {100 * agree.item() / judged:.2f}% of "
            f"{judged:,}, KL(teacher || student) {mean:.4f} nats"
        )
    return text


def _images_of(run: dict[str, Any]) -> str:
    """The source that a run was trained on."""
    images, cache = (str(run["flags"].get(name)) for name in ("images", "cache"))
    if images != "None":
        return images
    if cache == "None":
        return default_source()
    if not has_split(cache, "train"):
        raise InputError(
            f"{cache}, which names the images of the run, holds no train split any more: give "
            f"--images"
        )
    return open_cache(cache, "train").manifest.source.spec


def _without_teacher(images: str, facts: dict[str, Any], workers: int) -> Iterator[Answers]:
    source = open_images(images, "val")
    _require_trained_for(facts, len(source.classes), facts["size"], source.spec)
    loader = PixelLoader((source,), facts["size"], workers, pin_memory=False)
    return (Answers(*batch) for batch in image_batches(loader, 0, source, BATCH))


def _with_teacher(
    cache: Cache, images: str | None, facts: dict[str, Any], workers: int
) -> Iterator[Answers]:
    manifest = cache.manifest
    _require_trained_for(facts, manifest.teacher.classes, manifest.size, cache.where)
    if not has_one_view(manifest.policy):
        raise InputError(
            f"{cache.where} holds views of policy {manifest.policy}, and the val split is seen in "
            f"its centre views: make it with precompute/run.py --split val"
        )
    cache.require_views()
    require_targets(cache, frozenset({"logits"}), "agreement with the teacher")
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
    for pixels, labels in image_batches(loader, 0, source, BATCH, policy=cache.manifest.policy):
        rows = slice(start, start + len(labels))
        fields = {name: torch.from_numpy(arrays[name][rows]) for name in needed}
        pred = torch.from_numpy(arrays["pred"][rows]).long()
        yield Answers(pixels, labels, encoding.decode(fields, head)["logits"], pred)
        start += len(labels)
