"""A recipe as people read it: its schedules in words, and all of it as the JSON of run.json."""

from dataclasses import fields, is_dataclass
from typing import Any

from train.recipe import Recipe, Term
from train.schedule import Constant, Cosine, Schedule, Steps, SwitchedOn, WarmUp


def schedule_in_words(schedule: Schedule) -> str:
    """Like "6 (x 0.9 at epochs 29, 59, 89)" or "0.2 (cosine over 100 epochs)"."""
    match schedule:
        case Constant(value):
            return f"{value:g}"
        case Steps(value, factor, milestones):
            return f"{value:g} (x {factor:g} at epochs {', '.join(map(str, milestones))})"
        case Cosine(value, epochs, floor):
            end = f" to {floor:g}" if floor else ""
            return f"{value:g} (cosine{end} over {epochs} epochs)"
        case WarmUp(inner, epochs):
            return f"{schedule_in_words(inner)} after a warm-up of {epochs} epochs"
        case SwitchedOn(inner, start):
            return f"{schedule_in_words(inner)} from epoch {start}"


def in_words(recipe: Recipe) -> list[str]:
    """Lines for --dry-run: every loss with its hyper-parameters and needs, the optimizer."""
    lines = [
        f"{term.name}: {_call(term.loss)} x {schedule_in_words(term.weight)}; needs "
        + (", ".join(sorted(term.loss.needs)) or "no targets")
        for term in recipe.terms
    ]
    if recipe.guide is not None:
        lines.append(f"guide: {_call(recipe.guide)}")
    own = [f"weight decay {recipe.weight_decay:g}"]
    if recipe.optimizer == "sgd":
        own.insert(0, f"momentum {recipe.momentum:g}" + (", Nesterov's" if recipe.nesterov else ""))
    else:
        own.insert(0, "betas {:g}, {:g}".format(*recipe.betas))
    if not recipe.decay_norms:
        own[-1] += ", none for norms and biases"
    rate = schedule_in_words(recipe.learning_rate)
    ema = "" if recipe.ema is None else f"; weights averaged with decay {recipe.ema:g}"
    return [*lines, f"optimizer: {recipe.optimizer}, {', '.join(own)}; rate {rate}{ema}"]


def in_json(recipe: Recipe) -> dict[str, Any]:
    """Every field; terms by name. run.json has it beside repr(recipe), which decides whether two
    runs are the same."""
    return {
        field.name: {term.name: _term(term) for term in recipe.terms}
        if field.name == "terms"
        else _plain(getattr(recipe, field.name))
        for field in fields(recipe)
    }


def _term(term: Term) -> dict[str, Any]:
    return {
        "loss": _plain(term.loss),
        "weight": _plain(term.weight),
        "needs": sorted(term.loss.needs),
    }


def _plain(value: Any) -> Any:
    """Dataclasses as objects that begin with the name of their class; what JSON lacks as text."""
    if is_dataclass(value):
        named = {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
        return {"class": type(value).__name__, **named}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value if value is None or isinstance(value, str | int | float) else repr(value)


def _call(value: Any) -> str:
    """A loss or a guide with its hyper-parameters, like "KD, temperature 4"."""
    parts = [
        f"{field.name.replace('_', ' ')} {_shown(getattr(value, field.name))}"
        for field in (fields(value) if is_dataclass(value) else ())
    ]
    return ", ".join([type(value).__name__, *parts])


def _shown(value: Any) -> str:
    """As --set takes it."""
    if isinstance(value, tuple):
        return ",".join(map(_shown, value))
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
