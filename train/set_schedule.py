"""Schedules changed by --set: lr, schedule and warmup; TERM.weight, .schedule, .warmup and .start.

    schedule=constant                 the peak in every epoch
    schedule=cosine                   down to 0 over the run; schedule=cosine,1e-4 down to 1e-4
    schedule=steps,0.1,30,60,90       times 0.1 at epochs 30, 60 and 90
    warmup=5                          linear, whole in epoch 4; 0 takes a warm-up away
    kd.start=30                       0 before epoch 30; 0 takes a switch away

Each changes its own part: a warm-up or switch of the recipe stays when `schedule` is set.
"""

from collections.abc import Mapping
from typing import Any

from shared.commandline import did_you_mean
from shared.errors import InputError
from train.schedule import Constant, Cosine, Schedule, Steps, SwitchedOn, WarmUp
from train.set_value import parsed

Shape = tuple[str, tuple[float, ...]]
SHAPES = ("constant", "cosine", "steps")


def shape(key: str, text: str) -> Shape:
    """Like ("steps", (0.1, 30, 60))."""
    name, *rest = text.split(",")
    least, most = {"constant": (0, 0), "cosine": (0, 1), "steps": (2, 1000)}.get(name, (1, 0))
    kinds: list[Any] = [float, *([int] * len(rest[1:]))]
    try:
        if not least <= len(rest) <= most:
            raise InputError(name)
        return name, tuple(parsed(key, each, kind) for each, kind in zip(rest, kinds, strict=False))
    except InputError as error:
        near = "" if name in SHAPES else did_you_mean(name, SHAPES).rstrip(".")
        raise InputError(
            f"--set {key} must be constant, cosine, cosine,FLOOR or steps,FACTOR,EPOCH,...: got "
            f"{text[:60]!r}{near}"
        ) from error


RATE: dict[str, Any] = {"lr": float, "schedule": shape, "warmup": int}
WEIGHT: dict[str, Any] = {"weight": float, "schedule": shape, "warmup": int, "start": int}


def scheduled(
    prefix: str, old: Schedule, values: Mapping[str, Any], peak: str, epochs: int
) -> Schedule:
    """`old` with the given values, by the keys of RATE or WEIGHT; `peak` is lr or weight."""
    new = old
    if set(values) - {peak}:
        inner, warm, start = _apart(prefix, old)
        if "schedule" in values:
            inner = _shaped(values["schedule"], inner.peak, epochs)
        warm, start = values.get("warmup", warm), values.get("start", start)
        for key, value in (("warmup", warm), ("start", start)):
            if value < 0 or value > epochs:
                raise InputError(
                    f"--set {prefix}{key} must be from 0 to {epochs}, the number of epochs: got "
                    f"{value}"
                )
        if warm > 1 and start >= warm:
            raise InputError(
                f"--set {prefix}warmup={warm} has no effect: the weight is 0 before epoch {start}, "
                f"and the warm-up is over by then; set {prefix}start=0 too"
            )
        new = inner if warm < 2 else WarmUp(inner, warm)
        new = new if start == 0 else SwitchedOn(new, start)
    return new.peaking_at(values[peak]) if peak in values else new


def _shaped(shape: Shape, peak: float, epochs: int) -> Schedule:
    name, numbers = shape
    if name == "cosine":
        return Cosine(peak, epochs, *numbers)
    if name == "steps":
        return Steps(peak, numbers[0], tuple(int(number) for number in numbers[1:]))
    return Constant(peak)


def _apart(prefix: str, schedule: Schedule) -> tuple[Schedule, int, int]:
    """What a schedule wraps, its epochs of warm-up and the epoch that switches it on."""
    inner, warm, start = schedule, 0, 0
    while isinstance(inner, WarmUp | SwitchedOn):
        if (warm if isinstance(inner, WarmUp) else start) > 0:
            raise InputError(
                f"--set cannot change {prefix}schedule, {prefix}warmup or start of a schedule that "
                f"is wrapped twice: change it in the recipe's file"
            )
        if isinstance(inner, WarmUp):
            warm = inner.epochs
        else:
            start = inner.start
        inner = inner.schedule
    return inner, warm, start
