"""The state of a run between two steps: weights, optimizer and position, saved in last.pt.

    last.pt = {"epoch", "step", "sums", "seconds", "best_top1", "layout",
               "student", "optimizer", "scaler", "average", "memory"}

No random states are saved: order, views and shuffles are pure functions of (seed, epoch), and the
random numbers of dropout of (seed, epoch, step) (randomness.py).
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.amp import GradScaler

from shared.distributed import sum_over
from shared.errors import InputError
from shared.models.staged import StagedModel
from shared.models.weights import fill
from train.average import WeightAverage, plain_names
from train.fitting import require_fits
from train.memory import Memory
from train.optimizer import resumed
from train.schema import count, mismatch
from train.setup import Setup


@dataclass
class Position:
    epoch: int
    step: int  # number of finished steps in this epoch
    sums: Tensor  # float64, summed over this process's steps; see `step_sums`
    seconds: float  # that these steps took
    best_top1: float


@dataclass
class TrainState:
    setup: Setup
    layout: list[int]  # see train/input.py
    scaler: GradScaler | None = field(init=False)
    average: WeightAverage | None = field(init=False)
    is_compiled: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        setup = self.setup
        self.scaler = GradScaler(setup.device.type) if setup.precision == "fp16" else None
        self.average = None
        if setup.recipe.ema is not None:
            self.average = WeightAverage(setup.student.backbone, setup.recipe.ema)

    @property
    def memory(self) -> Memory | None:
        return self.setup.targets.fixed.memory

    @property
    def judged(self) -> StagedModel:
        """The model that is evaluated and saved as best.pt: the weight average if there is one."""
        return self.setup.student.backbone if self.average is None else self.average.module

    @property
    def evaluated(self) -> list[StagedModel]:
        """The judged model, and with averaged weights also the raw one."""
        return [self.judged, *([] if self.average is None else [self.setup.student.backbone])]

    def compile(self) -> None:
        """Compiles the student and the evaluated models. Names in state dicts do not change."""
        self.setup.student.compile()
        for model in self.evaluated:
            model.compile()
        self.is_compiled = True

    def start(self) -> Position:
        return Position(0, 0, self.no_sums(), 0.0, -1.0)

    def no_sums(self) -> Tensor:
        terms = len(self.setup.recipe.terms)
        return torch.zeros(terms + 4, dtype=torch.float64, device=self.setup.device)

    def save(self, at: Position) -> dict[str, Any]:
        """The contents of last.pt. All processes must call it, because it adds up their sums."""
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
            "memory": None if self.memory is None else self.memory.state_dict(),
        }

    def load(self, saved: dict[str, Any]) -> Position:
        """Restores the state; returns the position.

        `saved` comes from RunFolder.load_checkpoint and is the same in every process. Raises
        InputError if it does not fit this run, or if its unfinished epoch cannot be continued.
        """
        setup = self.setup
        if saved["step"] and saved["layout"] != self.layout:
            raise self._other_order(saved)
        try:
            self._require_sums(saved)
            require_fits("student", saved["student"], setup.student.state_dict())
            optimizer = resumed(saved["optimizer"], setup.optimizer)
            scale = None if self.scaler is None else _scale(saved["scaler"], self.scaler)
            average = None
            if self.average is not None and saved["average"] is not None:
                average = plain_names(saved["average"])
                if average is not None:
                    require_fits("average", average, self.average.module.state_dict())
            if self.memory is not None:
                kept = saved.get("memory") or {"tensors": {}}  # earlier versions had none
                require_fits("memory", kept["tensors"], self.memory.tensors())
        except ValueError as error:
            raise InputError(
                f"last.pt does not fit this run: {error}; delete it to start the run again"
            ) from error
        fill(setup.student, saved["student"])
        setup.optimizer.load_state_dict(optimizer)
        if self.scaler is not None and scale is not None:
            self.scaler.load_state_dict(scale)
        if self.average is not None:
            self.average.load_state_dict(average)
        if self.memory is not None:
            self.memory.load_state_dict(saved["memory"])
        # The saved sums are those of all processes, so only the first continues with them.
        sums = saved["sums"].to(setup.device) if setup.world.is_first else self.no_sums()
        return Position(saved["epoch"], saved["step"], sums, saved["seconds"], saved["best_top1"])

    def _other_order(self, saved: dict[str, Any]) -> InputError:
        """For an unfinished epoch whose other steps would have some samples twice."""
        cache, epoch = self.setup.targets.cache, f"epoch {saved['epoch']}"
        if cache is not None and cache.manifest.holds_pixels:
            return InputError(
                f"{epoch} of view shards was begun with {_workers(saved['layout'])}, and this run "
                f"has {_workers(self.layout)}: take as many for the rest of it, or train from a "
                f"zarr cache"
            )
        return InputError(
            f"{epoch} was begun with {_window(saved['layout'])}, and this run has "
            f"{_window(self.layout)}: the rest of the epoch would have other samples; finish the "
            f"epoch with the version that began it, or start again in another --out"
        )

    def _require_sums(self, saved: dict[str, Any]) -> None:
        epochs = self.setup.recipe.epochs
        if saved["epoch"] > epochs or (saved["step"] and saved["epoch"] == epochs):
            raise ValueError(f"it is in epoch {saved['epoch']}, the run has {epochs}")
        require_fits("sums", {"": saved["sums"]}, {"": self.no_sums()})
        if saved["step"] and not saved["seconds"] > 0:
            raise ValueError(f"{saved['step']} steps took {saved['seconds']} seconds")


def _scale(saved: dict[str, Any] | None, scaler: GradScaler) -> dict[str, Any]:
    pattern = {"scale": float, "_growth_tracker": count}
    if (problem := mismatch(saved, pattern, "scaler")) is not None or saved is None:
        raise ValueError(problem)
    if saved["scale"] <= 0:
        raise ValueError(f"the scale of its gradients is {saved['scale']}")
    return {**scaler.state_dict(), **{name: saved[name] for name in pattern}}


def _workers(layout: list[int]) -> str:
    return f"{layout[0]} processes with {layout[1]} workers" if len(layout) == 2 else "any"


def _window(layout: list[int]) -> str:
    """Of windows.py in shared/epochs/. Windows of whole blocks, of earlier versions, had []."""
    if len(layout) != 2:
        return "whole views or windows of an earlier version"
    return f"a window of {layout[0]:,} samples in pieces of {layout[1]:,}"
