"""The training loop of train/run.py.

Each epoch e loads view e mod K, replays its boxes on the images in loader workers, and gathers its
targets by sample index; then forward, losses, step. After the steps it evaluates on the val split
(validation.py), and saves metrics and a checkpoint (saving.py). A request to stop is handled
between two steps: save and end.
"""

import argparse
import math
import sys
import time
from functools import partial
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from shared.distributed import any_of, disconnect, from_first, parallel
from shared.errors import InputError
from shared.stop import StopRequest
from shared.units import duration
from train.banner import banner, seconds_left, time_left
from train.dry_run import describe
from train.folder import RunFolder
from train.input import Input, open_input
from train.logs.logs import Logs
from train.logs.names import logs_of
from train.plots import draw_curves
from train.randomness import seed_step
from train.reported import kinds_of, read_runs
from train.resume import Records, resume
from train.saving import Saver
from train.setup import Setup, make_setup
from train.state import TrainState
from train.step import train_step
from train.sums import means, step_sums
from train.validation import in_words, is_due, validate


def run(flags: argparse.Namespace) -> int:
    setup = make_setup(flags)
    feed = open_input(setup)
    if flags.dry_run:
        text = describe(setup, feed)
        if setup.world.is_first:
            print(text)
        feed.close()
        disconnect(setup.world)
        return 0
    folder = RunFolder(setup.folder)
    logs = Logs(logs_of(flags))
    from_first(lambda: folder.open(setup.identity, setup.facts), setup.world)
    with StopRequest() as stop, Saver(folder, stop, setup.device, flags.keep) as saver:
        train(setup, feed, folder, saver, stop, logs, flags)
    feed.close()
    logs.close()
    disconnect(setup.world)
    return 0 if stop.signal is None else 128 + stop.signal


def train(
    setup: Setup,
    feed: Input,
    folder: RunFolder,
    saver: Saver,
    stop: StopRequest,
    logs: Logs,
    flags: argparse.Namespace,
) -> None:
    recipe, student, optimizer = setup.recipe, setup.student, setup.optimizer
    world, device, cache = setup.world, setup.device, setup.targets.cache
    state = TrainState(setup, feed.layout)
    at, records = resume(setup, feed, folder, state)
    logs.begin(setup, records)
    if world.is_first and at.epoch < recipe.epochs:
        print(banner(setup, feed), flush=True)
    if flags.compile:
        state.compile()
    network = parallel(student, world, device)

    told_bad = False  # whether the note about images that do not decode was printed

    def save(best: dict[str, Tensor] | None = None, records: Records | None = None) -> None:
        saved = state.save(at)
        if world.is_first:
            saver.save(saved, best, records)
        # A single process may now end at once, or when the save in flight is written.
        stop.unsaved = world.size > 1 or stop.signal is not None

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
                saver.check()
                seed_step(setup.seed, at.epoch, at.step, world.rank, device)
                logits, losses = train_step(
                    network, optimizer, recipe, weights, setup.normalisation(pixels), batch,
                    setup.precision, state.scaler, setup.accumulate,
                )  # fmt: skip
                if state.average is not None:
                    state.average.update(student.backbone)
                with torch.no_grad():
                    at.sums += step_sums(recipe, batch, logits, losses)
                at.step += 1
                at.seconds = before + time.perf_counter() - started
                saves = at.step % flags.checkpoint_every == 0 or at.step == steps
                alone = world.size == 1 and stop.signal is not None
                # Only here does the host wait for the device and do processes agree to stop.
                if saves or alone or at.step % flags.log_every == 0:
                    log = means(at.sums, recipe, at.epoch, world)
                    _require_finite(log, at.epoch, at.step)
                    speed = f"{log['samples'] / at.seconds:.0f}/s"
                    left = recipe.epochs * steps - at.epoch * steps - at.step
                    progress.set_postfix(
                        loss=f"{log['total']:.3f}", top1=f"{log['top1']:.1f}%", images=speed,
                        run_left=duration(left * at.seconds / at.step),
                    )  # fmt: skip
                    stopping = any_of(bool(stop.signal), world, device)
                    if saves or stopping:
                        save()
                    if stopping:
                        break
        if any_of(bool(stop.signal), world, device):
            break

        log = means(at.sums, recipe, at.epoch, world)
        record: dict[str, Any] = {
            "epoch": at.epoch, "split": "train", **log, "learning_rate": learning_rate,
            "view": None if cache is None else at.epoch % cache.manifest.views,
            "images_per_second": log["samples"] / at.seconds, "seconds": at.seconds,
        }  # fmt: skip
        records.append(record)
        val, best = None, None
        if is_due(at.epoch, recipe.epochs, flags.validate_every):
            val, found = validate(setup, feed, state, at.epoch)
            records.append(val)
            if world.is_first and found.undecodable and not told_bad:
                told_bad = True
                print(found.note(), file=sys.stderr)
            if found.top1 > at.best_top1:
                best, at.best_top1 = state.judged.network.state_dict(), found.top1
        record["seconds_left"] = seconds_left(records, recipe.epochs, flags.validate_every)
        logs.write(records)
        if world.is_first:
            print(
                f"epoch {at.epoch}: loss {log['total']:.4f}, train top-1 {log['top1']:.2f}%, "
                f"{in_words(val)}{record['images_per_second']:.0f} images/s"
                f"{time_left(records, recipe.epochs, flags.validate_every)}"
            )
        at.epoch, at.step, at.sums, at.seconds = at.epoch + 1, 0, state.no_sums(), 0.0
        save(best, records)
    saver.wait()
    if not world.is_first:
        return
    if at.epoch < recipe.epochs:
        print(f"{folder.path}: stopped in epoch {at.epoch}, step {at.step}; start again to go on")
        return
    folder.finish(partial(draw_curves, kinds_of(read_runs([folder.path]))))
    print(f"{folder.path}: best val top-1 {at.best_top1:.2f}%")


def _require_finite(log: dict[str, Any], epoch: int, step: int) -> None:
    if not math.isfinite(log["total"]):
        each = ", ".join(f"{term} {mean:.4g}" for term, mean in log["loss"].items())
        raise InputError(
            f"the loss is not finite any more: in epoch {epoch}, by step {step} (mean so far: "
            f"{each}); lower --lr, or use --precision fp32 or --set warmup=5. Each makes another "
            f"run, so give another --out; last.pt of this one holds the state before it"
        )
