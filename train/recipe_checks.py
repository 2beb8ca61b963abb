"""Checks a recipe from a file of the user's, or with values of --set, before anything is built.

`unsound(recipe)` is one line that begins with the key of --set for what is wrong, or None.
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

from train.losses.loss import Loss
from train.recipe import Recipe, Term
from train.schedule import Constant, Cosine, Schedule, Steps, SwitchedOn, WarmUp
from train.set_value import hint_in_words, is_of

Rule = tuple[str, Callable[[Any], bool]]
ABOVE_0: Rule = ("above 0", lambda value: value > 0)
NOT_NEGATIVE: Rule = ("0 or more", lambda value: value >= 0)
BELOW_1: Rule = ("0 or more and below 1", lambda value: 0 <= value < 1)
COUNT: Rule = ("from 1 to 1,000,000", lambda value: 1 <= value <= 1_000_000)

RECIPE = {
    "epochs": COUNT,
    "batch_size": COUNT,
    "size": COUNT,
    "momentum": BELOW_1,
    "weight_decay": NOT_NEGATIVE,
    "betas": ("0 or more and below 1 each", lambda value: all(0 <= beta < 1 for beta in value)),
    "ema": ("between 0 and 1", lambda value: value is None or 0 < value < 1),
}
# Of losses, whichever has a field of this name. A loss may check more of itself when it is made.
LOSS = {
    "temperature": ABOVE_0,
    "label_smoothing": BELOW_1,
    **dict.fromkeys(("alpha", "beta", "gamma", "kappa", "head_weight", "angle"), NOT_NEGATIVE),
    "RKD.distance": NOT_NEGATIVE,
    "RobustChannelDistillation.beta": ABOVE_0,
    **dict.fromkeys(
        ("L2.beta", "SRRL.beta", "FitNets.beta", "WKDMaps.beta"),
        ("above 0, or none", lambda value: value is None or value > 0),
    ),
    **dict.fromkeys(("tau", "exponent", "eps"), ABOVE_0),
    **dict.fromkeys(("width", "negatives", "iterations"), COUNT),
    "CRD.momentum": BELOW_1,
    "stage": ("1 or more", lambda value: value >= 1),
    "stages": (
        "different numbers from 1 on, like 3,4",
        lambda value: bool(value) and min(value) >= 1 and len(set(value)) == len(value),
    ),
}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
TERM = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")


def unsound(recipe: Recipe) -> str | None:
    return next(_problems(recipe), None)


def _problems(recipe: Recipe) -> Iterator[str]:
    hints = get_type_hints(Recipe)
    for field in fields(recipe):
        name, value = field.name, getattr(recipe, field.name)
        if name not in ("terms", "guide") and not is_of(value, hints[name]):
            yield _wrong(name, hint_in_words(hints[name]), value)
        elif name in RECIPE and not RECIPE[name][1](value):
            yield _wrong(name, RECIPE[name][0], value)
    if not NAME.fullmatch(recipe.name):
        yield _wrong("name", "letters, digits and . _ + - (a run folder has it)", recipe.name)
    if not isinstance(recipe.terms, tuple) or not recipe.terms:
        yield _wrong("terms", "a tuple of at least one Term", recipe.terms)
    names: list[Any] = []
    for term in recipe.terms:
        if not isinstance(term, Term):
            yield _wrong("terms", "a tuple of Terms", term)
        yield from _of_term(term, recipe.epochs)
        if term.name in names:
            yield f"terms must have different names: two are called {term.name}"
        names.append(term.name)
    if not recipe.learning_rate.peak > 0:
        yield _wrong("lr", "above 0", recipe.learning_rate.peak)
    yield from _of_schedule("", recipe.learning_rate, recipe.epochs)
    if not any(term.weight(epoch) for term in recipe.terms for epoch in range(recipe.epochs)):
        yield "no term is left: the weights of all are 0 in every epoch"
    if recipe.nesterov and (recipe.optimizer != "sgd" or recipe.momentum == 0):
        yield "nesterov must be false without SGD's momentum: it is true"
    if recipe.guide is not None and not callable(recipe.guide):
        yield _wrong("guide", "one of shared/epochs/guide.py or like them, or None", recipe.guide)
    if ("guided" in recipe.needs) != (recipe.guide is not None):
        says = "one, as a loss is guided" if recipe.guide is None else "none, as no loss is guided"
        yield f"guide must be {says}: it is {recipe.guide!r}"
    if (recipe.teacher is None) != (not recipe.needs):
        says = "none" if recipe.teacher else "an architecture"
        yield _wrong("teacher", f"{says}, by what the losses need", recipe.teacher)


def _of_term(term: Term, epochs: int) -> Iterator[str]:
    if not isinstance(term.name, str) or not TERM.fullmatch(term.name) or term.name == "total":
        yield _wrong("a term's name", "letters, digits, _ and -, and not total", term.name)
    loss: Any = term.loss
    if not isinstance(loss, Loss) or not is_dataclass(loss):
        yield _wrong(f"the loss of {term.name}", "a dataclass that derives from Loss", loss)
    if not isinstance(term.weight, Schedule):
        yield _wrong(f"{term.name}.weight", "a schedule, like Constant(1.0)", term.weight)
    for field in fields(loss):
        key, value = f"{term.name}.{field.name}", getattr(loss, field.name)
        if isinstance(value, float) and not math.isfinite(value):
            yield _wrong(key, "a finite number", value)
        rule = LOSS.get(f"{type(loss).__name__}.{field.name}", LOSS.get(field.name))
        if rule is not None and not rule[1](value):
            yield _wrong(key, rule[0], value)
    if " object at 0x" in repr(loss):
        yield f"the loss of {term.name} must print its values (a run is known by them): {loss!r}"
    yield from _of_schedule(f"{term.name}.", term.weight, epochs)


def _of_schedule(prefix: str, schedule: Schedule, epochs: int) -> Iterator[str]:
    """`epochs`: of the run. `prefix`: "" of the learning rate, like "kd." of a term's weight."""
    value, rule = f"{prefix}weight" if prefix else "lr", "a finite number, 0 or more"
    if not math.isfinite(schedule.peak) or schedule.peak < 0:
        yield _wrong(value, rule, schedule.peak)
    match schedule:
        case Constant():
            return
        case Steps(_, factor, milestones):
            if not is_of(milestones, tuple[int, ...]) or min(milestones, default=0) < 0:
                yield _wrong(f"{prefix}schedule", "steps at epochs of 0 or more", milestones)
            if not 0 <= factor < math.inf:
                yield _wrong(f"{prefix}schedule", "steps by a factor of 0 or more", factor)
        case Cosine(peak, length, floor):
            if length < 1 or not 0 <= floor <= peak:
                yield _wrong(f"{prefix}schedule", f"a cosine to 0 ... {peak:g}", floor)
        case WarmUp(inner, length):
            if not is_of(length, int) or length < 1:
                yield _wrong(f"{prefix}warmup", "a number of epochs, 1 or more", length)
            yield from _of_schedule(prefix, inner, epochs)
        case SwitchedOn(inner, start):
            if not is_of(start, int) or not 0 <= start < epochs:
                yield _wrong(f"{prefix}start", f"an epoch from 0 to {epochs - 1}", start)
            yield from _of_schedule(prefix, inner, epochs)


def _wrong(key: str, rule: str, value: object) -> str:
    shown = value if isinstance(value, str | int | float) else repr(value)
    return f"{key} must be {rule}: it is {str(shown)[:60]}"
