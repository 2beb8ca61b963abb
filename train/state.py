"""All that a run is between two steps: what it has learned, and where it stands.

    last.pt = {"epoch", "step", "sums", "seconds", "best_top1", "layout",
               "student", "optimizer", "scaler", "average"}

There are no random states to keep: order, views and shuffles are pure functions of (seed, epoch),
and nothing else draws.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.amp import GradScaler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from shared.distributed import World, sum_over
from shared.errors import InputError
from shared.models import StagedResNet
from train.batch import Batch
from train.evaluate import correct
from train.recipes import Recipe
from train.setup import Setup


@dataclass
class Position:
    epoch: int
    step: int  # of this epoch, that are done
    sums: Tensor  # float64, of this process's steps, see `step_sums`
    seconds: float  # that the steps took
    best_top1: float


@dataclass
class TrainState:
    setup: Setup
    layout: list[int]  # see train/input.py
    scaler: GradScaler | None = field(init=False)
    average: AveragedModel | None = field(init=False)

    def __post_init__(self) -> None:
        setup = self.setup
        self.scaler = GradScaler(setup.device.type) if setup.precision == "fp16" else None
        self.average = None
        if setup.recipe.ema is not None:
            self.average = AveragedModel(
                setup.student.backbone,
                multi_avg_fn=get_ema_multi_avg_fn(setup.recipe.ema),
                use_buffers=True,
            )

    @property
    def judged(self) -> StagedResNet:
        """What is evaluated and kept as best.pt."""
        judged = self.setup.student.backbone if self.average is None else self.average.module
        assert isinstance(judged, StagedResNet)
        return judged

    def start(self) -> Position:
        return Position(0, 0, self.no_sums(), 0.0, -1.0)

    def no_sums(self) -> Tensor:
        terms = len(self.setup.recipe.terms)
        return torch.zeros(terms + 4, dtype=torch.float64, device=self.setup.device)

    def save(self, at: Position) -> dict[str, Any]:
        """For last.pt. Every process must call it: the sums are those of all."""
        return {
            "epoch": at.epoch,
            "step": at.step,
            "sums": sum_over(at.sums, self.setup.world).cpu(),
            "seconds": at.seconds,
            "best_top1": at.best_top1,
            "layout": self.layout,
            "student": self.setup.student.state_dict(),
            "optimizer": self.setup.optimizer.state_dict(),
            "scaler": None if self.scaler is None else self.scaler.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
        }

    def load(self, saved: dict[str, Any]) -> Position:
        """InputError where an epoch that was begun cannot be gone on with here."""
        setup = self.setup
        if saved["step"] and saved["layout"] != self.layout:
            raise InputError(
                f"an epoch of view shards ends with the processes and workers that it was begun "
                f"with: {_told(saved['layout'])} then, {_told(self.layout)} now; take as many for "
                f"the rest of epoch {saved['epoch']}, or train from a zarr cache"
            )
        setup.student.load_state_dict(saved["student"])
        setup.optimizer.load_state_dict(saved["optimizer"])
        if self.scaler is not None:
            self.scaler.load_state_dict(saved["scaler"])
        if self.average is not None:
            self.average.load_state_dict(saved["average"])
        # The first process goes on with the sums of all.
        sums = saved["sums"].to(setup.device) if setup.world.is_first else self.no_sums()
        return Position(saved["epoch"], saved["step"], sums, saved["seconds"], saved["best_top1"])


def step_sums(recipe: Recipe, batch: Batch, logits: Tensor, losses: list[Tensor]) -> Tensor:
    """float64 on the device, to be added up over steps and processes: each term over the samples
    that it is a mean of, hits (top-1, top-5) over all; then all and guided samples."""
    pairs = zip(recipe.terms, losses, strict=False)  # the last of the losses is their total
    sums = [loss * batch.divisor(term.loss.needs) for term, loss in pairs]
    hits = correct(logits.float(), batch.labels)
    counts = [hits.new_zeros(()) + count for count in (batch.count, batch.guided_count)]
    return torch.stack([*sums, *hits, *counts]).double()


def means(sums: Tensor, recipe: Recipe, epoch: int, world: World) -> list[float]:
    """Terms, their weighted total, top-1 and top-5 over all processes' samples, then their number.

    A guided term is a mean over the guided samples, 0 where there were none.
    """
    *values, samples, guided = sum_over(sums, world).tolist()
    counts = [guided if "guided" in term.loss.needs else samples for term in recipe.terms]
    counts += [samples] * 2  # top-1, top-5
    *terms, top1, top5 = (value / n if n else 0.0 for value, n in zip(values, counts, strict=True))
    weights = recipe.weights(epoch).values()
    total = sum(weight * mean for weight, mean in zip(weights, terms, strict=True))
    return [*terms, total, top1, top5, samples]


def _told(layout: list[int]) -> str:
    return f"{layout[0]} processes with {layout[1]} workers" if layout else "any"
