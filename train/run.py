"""Trains a student from a cached teacher.

    python train/run.py --cache data/teacher_cache
    python train/run.py --cache data/teacher_cache --recipe resnet18.ce --out runs/plain --epochs 90

Each epoch: the view e mod K is loaded, its boxes are replayed on the images in loader workers, its
targets gathered by sample index; forward, losses, step; then the val split, a line of metrics, a
checkpoint. Start it again and it goes on from the last finished epoch, bit for bit.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import torch
from tqdm import tqdm

from shared.distributed import (
    World,
    connect,
    disconnect,
    parallel,
    share_buffers,
    sum_over,
    wait_for_all,
)
from shared.errors import InputError, run_command
from train.evaluate import correct, evaluate
from train.folder import RunFolder, read_metrics
from train.input import open_input
from train.plots import draw_curves
from train.setup import Setup, add_flags, make_setup
from train.step import train_step

CHECK_EVERY = 20  # steps between two looks at the loss, which wait for the device


def main() -> int:
    parser = argparse.ArgumentParser(description="Trains a student from a cached teacher.")
    add_flags(parser)
    flags = parser.parse_args()
    setup = make_setup(flags)
    folder = RunFolder(flags.out or Path("runs") / setup.recipe.name)
    connect(setup.world, setup.device)
    if setup.world.is_first:
        folder.open(setup.identity, setup.facts)
    train(setup, folder)
    disconnect(setup.world)
    return 0


def train(setup: Setup, folder: RunFolder) -> None:
    recipe, student, optimizer, device = (
        setup.recipe, setup.student, setup.optimizer, setup.device
    )  # fmt: skip
    world = setup.world
    feed = open_input(setup)
    network = parallel(student, world, device)
    start, best = 0, -1.0
    if (state := folder.load_checkpoint()) is not None:
        student.load_state_dict(state["student"])
        optimizer.load_state_dict(state["optimizer"])
        start, best = state["epoch"], state["best_top1"]
        if world.is_first:
            print(f"{folder.path}: going on at epoch {start} of {recipe.epochs}")
    records = [record for record in read_metrics(folder.path) if record["epoch"] < start]
    wait_for_all(world)  # until everyone has read, before anyone writes

    for epoch in range(start, recipe.epochs):
        weights = recipe.weights(epoch)
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate(epoch)
        student.train()
        # Sums over samples: terms, total, top-1, top-5, and how many samples.
        sums = torch.zeros(len(recipe.terms) + 4, dtype=torch.float64, device=device)
        started = time.perf_counter()
        steps = feed.steps(epoch)
        batches = feed.batches(epoch)
        quiet = None if world.is_first else True
        progress = tqdm(batches, f"epoch {epoch}", steps, leave=False, unit="step", disable=quiet)
        for step, (pixels, batch) in enumerate(progress):
            x = setup.normalisation(pixels)
            outputs, losses = train_step(
                network, optimizer, recipe, weights, x, batch, setup.precision
            )

            with torch.no_grad():
                hits = correct(outputs.logits.float(), batch.labels)
                rows = hits.new_full((1,), len(pixels))
                sums += torch.cat([torch.stack(losses) * batch.count, hits, rows])
            if step % CHECK_EVERY == CHECK_EVERY - 1 or step == steps - 1:
                *means, seen = _means(sums, world)
                _require_finite(means, recipe.terms, epoch, step)
                progress.set_postfix(loss=f"{means[-3]:.3f}", top1=f"{100 * means[-2]:.1f}%")
        seconds = time.perf_counter() - started

        *means, seen = _means(sums, world)
        record: dict[str, Any] = {
            "epoch": epoch, "split": "train", "top1": 100 * means[-2], "top5": 100 * means[-1],
            "loss": {term.name: mean for term, mean in zip(recipe.terms, means, strict=False)},
            "weight": weights, "total": means[-3], "learning_rate": recipe.learning_rate(epoch),
            "view": None if setup.cache is None else epoch % setup.cache.manifest.views,
            "images_per_second": seen / seconds, "seconds": seconds,
        }  # fmt: skip
        started = time.perf_counter()
        share_buffers(student, world)
        top1, top5, samples = evaluate(
            student.backbone, feed.val_batches(), setup.normalisation, device, feed.val_world
        )
        seconds = time.perf_counter() - started
        records += [
            record,
            {"epoch": epoch, "split": "val", "top1": top1, "top5": top5,
             "images_per_second": samples / seconds, "seconds": seconds},
        ]  # fmt: skip
        is_best, best = top1 > best, max(top1, best)
        if not world.is_first:
            continue
        if is_best:
            folder.save("best.pt", student.backbone.state_dict())
        folder.write_metrics(records)
        folder.save(
            "last.pt",
            {
                "epoch": epoch + 1,
                "best_top1": best,
                "student": student.state_dict(),
                "optimizer": optimizer.state_dict(),
            },
        )
        print(
            f"epoch {epoch}: loss {record['total']:.4f}, train top-1 {record['top1']:.2f}%, val "
            f"top-1 {top1:.2f}% top-5 {top5:.2f}%, {record['images_per_second']:.0f} images/s"
        )
    feed.close()
    if not world.is_first:
        return
    draw_curves([folder.path], folder.path / "curves.png")
    folder.finish()
    print(f"{folder.path}: best val top-1 {best:.2f}%")


def _means(sums: torch.Tensor, world: World) -> list[float]:
    """Terms, total, top-1 and top-5 as means over all processes' samples, then their number."""
    total = sum_over(sums, world)
    means: list[float] = (total / total[-1]).tolist()
    return [*means[:-1], total[-1].item()]


def _require_finite(means: list[float], terms: tuple[Any, ...], epoch: int, step: int) -> None:
    if not np.isfinite(means[-3]):
        each = ", ".join(f"{t.name} {mean:.4g}" for t, mean in zip(terms, means, strict=False))
        raise InputError(
            f"the loss must stay finite: in epoch {epoch}, by step {step}, it is not (mean so far: "
            f"{each}); lower --lr or use --precision fp32, then start again: last.pt holds the "
            f"state before this epoch"
        )


if __name__ == "__main__":
    run_command(main)
