"""Trains a student from a cached teacher.

    python train/run.py --cache data/teacher_cache
    python train/run.py --cache data/teacher_cache --recipe resnet18.ce --out runs/plain --epochs 90
    torchrun --nproc-per-node 8 train/run.py --cache data/teacher_cache --workers 16

Each epoch: the view e mod K is loaded, its boxes are replayed on the images in loader workers, its
targets gathered by sample index; forward, losses, step; then the val split, a line of metrics, a
checkpoint. Stopped in any way (SIGTERM and Ctrl-C save first) and started again, it goes on where
it stood, bit for bit on a CPU, in the middle of an epoch too.
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
    any_of,
    connect,
    disconnect,
    parallel,
    share_buffers,
    wait_for_all,
)
from shared.errors import InputError, run_command
from shared.stop import StopRequest
from train.dry_run import describe
from train.evaluate import evaluate
from train.events import Events, open_events
from train.folder import RunFolder, read_metrics
from train.input import Input, open_input
from train.plots import draw_curves
from train.setup import Setup, add_flags, make_setup
from train.state import TrainState, means, step_sums
from train.step import train_step


def main() -> int:
    parser = argparse.ArgumentParser(description="Trains a student from a cached teacher.")
    add_flags(parser)
    flags = parser.parse_args()
    setup = make_setup(flags)
    connect(setup.world, setup.device)
    feed = open_input(setup)
    if flags.dry_run:
        text = describe(setup, feed)
        if setup.world.is_first:
            print(text)
        feed.close()
        disconnect(setup.world)
        return 0
    folder = RunFolder(flags.out or Path("runs") / setup.recipe.name)
    events = open_events(flags.tensorboard and setup.world.is_first, folder.path)
    if setup.world.is_first:
        folder.open(setup.identity, setup.facts)
    with StopRequest() as stop:
        train(setup, feed, folder, stop, events, flags)
    feed.close()
    events.close()
    disconnect(setup.world)
    return 0 if stop.signal is None else 128 + stop.signal


def train(
    setup: Setup,
    feed: Input,
    folder: RunFolder,
    stop: StopRequest,
    events: Events,
    flags: argparse.Namespace,
) -> None:
    recipe, student, optimizer = setup.recipe, setup.student, setup.optimizer
    world, device = setup.world, setup.device
    state = TrainState(setup, feed.layout)
    at = state.start()
    if (saved := folder.load_checkpoint()) is not None:
        at = state.load(saved)
        if world.is_first:
            print(f"{folder.path}: going on at epoch {at.epoch} of {recipe.epochs}, step {at.step}")
    records = [record for record in read_metrics(folder.path) if record["epoch"] < at.epoch]
    wait_for_all(world)  # until everyone has read, before anyone writes
    if flags.compile:
        student.compile()
    network = parallel(student, world, device)

    def save() -> None:
        saved = state.save(at)
        if world.is_first:
            folder.save("last.pt", saved)
        stop.unsaved = world.size > 1  # alone it may end at once then, as in a val split

    stop.unsaved = world.size > 1
    while at.epoch < recipe.epochs:
        weights, learning_rate = recipe.weights(at.epoch), recipe.learning_rate(at.epoch)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        student.train()
        steps = feed.steps(at.epoch)
        batches = feed.batches(at.epoch, at.step) if at.step < steps else iter(())
        with tqdm(
            batches, f"epoch {at.epoch}", steps, initial=at.step, leave=False, unit="step",
            disable=None if world.is_first else True,
        ) as progress:  # fmt: skip
            before, started = at.seconds, time.perf_counter()
            for pixels, batch in progress:
                stop.unsaved = True
                logits, losses = train_step(
                    network, optimizer, recipe, weights, setup.normalisation(pixels), batch,
                    setup.precision, state.scaler, setup.accumulate,
                )  # fmt: skip
                if state.average is not None:
                    state.average.update_parameters(student.backbone)
                with torch.no_grad():
                    at.sums += step_sums(recipe, batch, logits, losses)
                at.step += 1
                at.seconds = before + time.perf_counter() - started
                saves = at.step % flags.checkpoint_every == 0 or at.step == steps
                alone = world.size == 1 and stop.signal is not None
                # Only here does the host wait for the device, and do processes agree to stop.
                if saves or alone or at.step % flags.log_every == 0:
                    *now, seen = means(at.sums, recipe, at.epoch, world)
                    _require_finite(now, recipe.terms, at.epoch, at.step)
                    speed = f"{seen / at.seconds:.0f}/s"
                    progress.set_postfix(loss=f"{now[-3]:.3f}", top1=f"{now[-2]:.1%}", images=speed)
                    stopping = any_of(bool(stop.signal), world, device)
                    if saves or stopping:
                        save()
                    if stopping:
                        break
        if any_of(bool(stop.signal), world, device):
            break

        *now, seen = means(at.sums, recipe, at.epoch, world)
        record: dict[str, Any] = {
            "epoch": at.epoch, "split": "train", "top1": 100 * now[-2], "top5": 100 * now[-1],
            "loss": {term.name: mean for term, mean in zip(recipe.terms, now, strict=False)},
            "weight": weights, "total": now[-3], "learning_rate": learning_rate,
            "view": None if setup.cache is None else at.epoch % setup.cache.manifest.views,
            "images_per_second": seen / at.seconds, "seconds": at.seconds,
        }  # fmt: skip
        started = time.perf_counter()
        share_buffers(student, world)
        if state.average is not None:
            share_buffers(state.average, world)
        top1, top5, samples = evaluate(
            state.judged, feed.val_batches(), setup.normalisation, device, feed.val_world
        )
        seconds = time.perf_counter() - started
        val = {
            "epoch": at.epoch, "split": "val", "top1": top1, "top5": top5,
            "images_per_second": samples / seconds, "seconds": seconds,
        }  # fmt: skip
        records += [record, val]
        if world.is_first:
            if top1 > at.best_top1:
                folder.save("best.pt", state.judged.state_dict())
            folder.write_metrics(records)
            events.write(record, val)
            print(
                f"epoch {at.epoch}: loss {now[-3]:.4f}, train top-1 {now[-2]:.2%}, val top-1 "
                f"{top1:.2f}% top-5 {top5:.2f}%, {record['images_per_second']:.0f} images/s"
            )
        at.epoch, at.step, at.sums, at.seconds = at.epoch + 1, 0, state.no_sums(), 0.0
        at.best_top1 = max(top1, at.best_top1)
        save()
    if not world.is_first:
        return
    if at.epoch < recipe.epochs:
        print(f"{folder.path}: stopped in epoch {at.epoch}, step {at.step}; start again to go on")
        return
    draw_curves({folder.path.name: [folder.path]}, folder.path / "curves.png")
    folder.finish()
    print(f"{folder.path}: best val top-1 {at.best_top1:.2f}%")


def _require_finite(means: list[float], terms: tuple[Any, ...], epoch: int, step: int) -> None:
    if not np.isfinite(means[-3]):
        each = ", ".join(f"{t.name} {mean:.4g}" for t, mean in zip(terms, means, strict=False))
        raise InputError(
            f"the loss must stay finite: in epoch {epoch}, by step {step}, it is not (mean so far: "
            f"{each}); lower --lr or use --precision fp32, then start again: last.pt holds the "
            f"state before it"
        )


if __name__ == "__main__":
    run_command(main)
