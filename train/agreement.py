"""Evaluates a student for train/eval.py: top-1, top-5, and agreement with its teacher.

The run.json beside the checkpoint says what the network is and on which images it was trained.
Agreement needs a cached val split (precompute/run.py --split val). It is the share of images where
student and teacher have the same top-1, and the mean KL(teacher || student) in nats.

An image that does not decode counts as wrong for accuracy, and is left out of agreement. If the
teacher used batch statistics, its outputs depend on the batches in the cache, which are random
samples of the split. Agreement is with those outputs, and a note says so.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import kl_div, log_softmax
from tqdm import tqdm

from shared.device import default_workers, pick_device
from shared.epochs.images import open_images
from shared.errors import InputError
from shared.images.source import default_source
from shared.models.staged import StagedModel
from shared.pixels.normalise import Normalisation
from shared.store.opening import has_split, open_cache
from train.accuracy import correct
from train.answers import Answers, with_teacher, without_teacher
from train.checkpoint import load_student, on_disk, run_of
from train.network_facts import facts_of_network, require_network
from train.step import autocast


def evaluate_checkpoint(flags: argparse.Namespace) -> int:
    if flags.workers is not None and flags.workers < 0:
        raise InputError(f"--workers must be 0 or more: got {flags.workers}")
    require_network(flags)
    with on_disk(flags.checkpoint) as checkpoint:
        return _evaluate(checkpoint, flags)


def _evaluate(checkpoint: Path, flags: argparse.Namespace) -> int:
    if flags.student is None:
        run = run_of(checkpoint)
        facts = run["model"]
    else:
        run = {"identity": {}, "flags": {"images": flags.images}}
        facts = _facts_of_flags(flags)
    device = pick_device(flags.device)
    workers = default_workers(device) if flags.workers is None else flags.workers
    model = load_student(checkpoint, facts).to(device).eval()
    normalise = Normalisation(tuple(facts["mean"]), tuple(facts["std"]))
    if flags.cache is None:
        batches = without_teacher(flags.images or _images_of(run), facts, workers)
    else:
        batches = with_teacher(open_cache(flags.cache, "val"), flags.images, facts, workers)
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
            logits = model(x)
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


def _facts_of_flags(flags: argparse.Namespace) -> dict[str, Any]:
    """Of a network without a run.json, for the data that it is evaluated on."""
    if flags.cache is not None:
        manifest = open_cache(flags.cache, "val").manifest
        return facts_of_network(flags, len(manifest.source.classes), manifest.size)
    source = open_images(flags.images, "val")
    return facts_of_network(flags, len(source.classes), source.size)


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
