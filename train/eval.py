"""Top-1 and top-5 of any student on the val split, and how far it agrees with its teacher.

    python train/eval.py --checkpoint runs/X/best.pt
    python train/eval.py --checkpoint runs/X/best.pt --cache data/teacher_cache

What the network is stands in the run.json beside the checkpoint. Agreement (share of images where
student and teacher have the same top-1, and the mean KL(teacher || student) in nats) needs a cached
val split: precompute/run.py --split val.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax
from tqdm import tqdm

from shared.checks import require_pixels, require_source, require_targets
from shared.codecs import CODECS
from shared.device import default_workers, pick_device
from shared.errors import InputError, run_command
from shared.images import ImageSource, default_source, open_source
from shared.loader import PixelLoader
from shared.models import StagedResNet, load_weights
from shared.normalise import Normalisation
from shared.store.cache import Cache, has_split, open_cache
from shared.store.stream import ShardLoader
from shared.targets import Targets
from train.evaluate import correct, image_batches
from train.folder import read_run

BATCH = 256
Answers = tuple[Tensor, Tensor, Targets | None, Tensor | None]  # pixels, labels, teacher's, pred


def main() -> int:
    parser = argparse.ArgumentParser(description="Evaluates a checkpoint on the val split.")
    add = parser.add_argument
    add("--checkpoint", type=Path, required=True, metavar="FILE", help="a run's best.pt")
    add("--cache", metavar="DIR", help="with a val split: agreement with the teacher")
    add("--images", metavar="SOURCE", help="default: the cache's, else data/imagenet or digits")
    add("--workers", type=int, help="decoding processes (default: by device)")
    add("--device", help="cpu, cuda, cuda:1, ... (default: the best there is)")
    flags = parser.parse_args()
    facts = read_run(flags.checkpoint.parent)["model"]
    device = pick_device(flags.device)
    workers = default_workers(device) if flags.workers is None else flags.workers
    model = StagedResNet(facts["architecture"], facts["classes"], facts["stem"])
    load_weights(model, str(flags.checkpoint))
    model.to(device).eval()
    normalise = Normalisation(tuple(facts["mean"]), tuple(facts["std"]))
    batches = _open(flags, facts["size"], facts["classes"], workers)
    print(evaluate_with_teacher(model, normalise, batches, device))
    return 0


@torch.no_grad()
def evaluate_with_teacher(
    model: StagedResNet, normalise: Normalisation, batches: Iterator[Answers], device: torch.device
) -> str:
    right = torch.zeros(2, device=device)
    agree = divergence = torch.zeros((), device=device)
    seen = judged = 0
    for pixels, labels, targets, pred in tqdm(batches, leave=False, disable=None):
        logits = model(normalise(pixels.to(device)))[0].float()
        right += correct(logits, labels.to(device))
        seen += len(labels)
        if targets is not None and pred is not None:
            agree = agree + (logits.argmax(1) == pred.to(device)).sum()
            teacher = log_softmax(targets.logits.to(device), dim=1)
            student = log_softmax(logits, dim=1)
            divergence = divergence + kl_div(student, teacher, reduction="sum", log_target=True)
            judged += len(labels)
    top1, top5 = (100 * right / seen).tolist()
    text = f"val: {seen:,} images, top-1 {top1:.2f}%, top-5 {top5:.2f}%"
    if judged:
        text += (
            f"; agrees with the teacher's top-1 on {100 * agree.item() / judged:.2f}%, "
            f"KL(teacher || student) {divergence.item() / judged:.4f} nats"
        )
    return text


def _open(flags: argparse.Namespace, size: int, classes: int, workers: int) -> Iterator[Answers]:
    if flags.cache is None or not has_split(flags.cache, "val"):
        if flags.cache is not None:
            print(f"NOTE: {flags.cache} has no val split: no agreement", file=sys.stderr)
        source = open_source(flags.images or default_source(), "val")
        _require(classes == len(source.classes), classes, len(source.classes), source.spec)
        loader = PixelLoader((source,), size, workers, pin_memory=False)
        batches = image_batches(loader, 0, source, BATCH)
        return ((pixels, labels, None, None) for pixels, labels in batches)
    cache = open_cache(flags.cache, "val")
    cache.require_views()
    manifest = cache.manifest
    _require(
        (classes, size, "center") == (manifest.teacher.classes, manifest.size, manifest.policy),
        f"{classes} classes, {size} px, policy center",
        f"{manifest.teacher.classes} classes, {manifest.size} px, {manifest.policy}",
        cache.where,
    )
    require_targets(cache, frozenset({"logits"}), "eval")
    if manifest.format == "webdataset":
        require_pixels(cache, None)
        return _from_shards(cache, workers)
    source = open_source(flags.images or manifest.source.spec, "val", limit=manifest.samples)
    require_source(cache, source)
    require_pixels(cache, source)
    return _from_images(cache, source, size, workers)


def _require(holds: bool, wanted: object, found: object, where: str) -> None:
    if not holds:
        raise InputError(
            f"a checkpoint is evaluated on what it was trained for: it has {wanted}, {where} has "
            f"{found}; give the val split of the same data and size"
        )


def _from_shards(cache: Cache, workers: int) -> Iterator[Answers]:
    codec = CODECS[cache.manifest.codec]
    needed = codec.needed(frozenset({"logits"}))
    stages, head = cache.manifest.teacher.channels, cache.head()
    for batch in ShardLoader(cache, needed, BATCH, 0, workers, pin_memory=False).batches(0):
        yield batch.pixels, batch.label, codec.decode(batch.fields, stages, head), batch.pred


def _from_images(cache: Cache, source: ImageSource, size: int, workers: int) -> Iterator[Answers]:
    """Centre views are the policy's only ones, so the source's own are those of the cache."""
    codec = CODECS[cache.manifest.codec]
    needed = codec.needed(frozenset({"logits"}))
    stages, head = cache.manifest.teacher.channels, cache.head()
    arrays = cache.read_view(0, [*needed, "pred"])
    loader = PixelLoader((source,), size, workers, pin_memory=False)
    start = 0
    for pixels, labels in image_batches(loader, 0, source, BATCH):
        rows = slice(start, start + len(labels))
        fields = {name: torch.from_numpy(arrays[name][rows]) for name in needed}
        pred = torch.from_numpy(arrays["pred"][rows]).long()
        yield pixels, labels, codec.decode(fields, stages, head), pred
        start += len(labels)


if __name__ == "__main__":
    run_command(main)
