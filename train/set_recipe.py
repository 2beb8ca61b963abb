"""Recipes changed by the texts of --set: KEY=VALUE for the recipe, TERM.KEY=VALUE for a term.

    --set kd.weight=0.9 kd.temperature=4 lr=0.2 schedule=cosine warmup=5 optimizer=adamw

`epochs` is applied first and moves milestones in proportion; all other values are those of the run
as it is then. What a value must be follows from the annotation of its field (train/set_value.py)
and train/recipe_checks.py. A term whose weight is set to 0 is dropped, with what it needs of the
cache. Only a loss that needs nothing, like CE, stays at weight 0, so that the student's head stays
in the graph (train/step.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from types import FunctionType
from typing import Any, get_type_hints

from shared.commandline import did_you_mean
from shared.epochs.guide import Guide, TeacherCorrect, TeacherLossBelow
from shared.errors import InputError
from train.recipe import Recipe, Term
from train.recipe_checks import unsound
from train.set_schedule import RATE, WEIGHT, scheduled
from train.set_value import parsed

# They have a flag of their own (--student, --out), or follow from the rest.
NOT_SET = (
    *("name", "terms", "guide", "learning_rate", "teacher", "student", "composition"),
    "paper_top1_error",
)
SMOOTHING = "label_smoothing"
OWNERS = {"momentum": "sgd", "betas": "adamw"}  # which optimizer reads it


@dataclass(frozen=True)
class Given:
    value: Any
    where: str  # as the user typed it


def set_recipe(
    recipe: Recipe, texts: Sequence[str], flags: Mapping[str, Given] | None = None
) -> Recipe:
    """`recipe` with the values of `texts`, and of flags that mean the same as a key.

    Raises InputError if a key is not known, a value is not of its type or out of range, or two
    values are given for one key.
    """
    given = dict(flags or {})
    hints = _hints(recipe)
    for text in texts:
        _add(given, recipe, hints, text)
    if "epochs" in given:
        _require_count("epochs", given["epochs"])
        recipe = recipe.scaled(given["epochs"].value)
    values = {key: each.value for key, each in given.items()}
    _require_own_optimizer(recipe, values)
    if "guide" in values:
        if "guided" not in recipe.needs:
            raise InputError(f"--set guide has no effect: no loss of {recipe.name} is guided")
        recipe = replace(recipe, guide=values["guide"])
    plain = {name: value for name, value in values.items() if name in _recipe_hints()}
    plain.pop("epochs", None)
    rate = {name: values[name] for name in RATE if name in values}
    recipe = replace(
        recipe,
        **plain,
        learning_rate=scheduled("", recipe.learning_rate, rate, "lr", recipe.epochs),
        terms=tuple(_term(term, values, recipe.epochs) for term in recipe.terms),
    )
    recipe = _without_dropped(recipe, values)
    if given and (problem := unsound(recipe)) is not None:
        raise InputError(_blamed(problem, given))
    return recipe


def _recipe_hints() -> dict[str, Any]:
    return {name: hint for name, hint in get_type_hints(Recipe).items() if name not in NOT_SET}


def _hints(recipe: Recipe) -> dict[str, Any]:
    """Every key and its type: an annotation, or a function from text to a value."""
    hints = {**RATE, "guide": _guide, **_recipe_hints(), SMOOTHING: float}
    for term in recipe.terms:
        inside = _types(term.loss)
        hints.update({f"{term.name}.{name}": hint for name, hint in {**inside, **WEIGHT}.items()})
    return hints


def _types(loss: Any) -> dict[str, Any]:
    """The types of a loss's hyper-parameters; of their values where a file names no real types."""
    try:
        hints = get_type_hints(type(loss))
    except (NameError, TypeError):
        hints = {}
    return {f.name: hints.get(f.name, type(getattr(loss, f.name))) for f in fields(loss)}


def _add(given: dict[str, Given], recipe: Recipe, hints: dict[str, Any], text: str) -> None:
    key, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--set takes KEY=VALUE, like lr=0.2 or kd.temperature=4: got {text!r}")
    if key not in hints:
        raise _unknown(key, hints)
    for name in _resolved(key, recipe):
        hint = hints[name]
        read = hint if isinstance(hint, FunctionType) else partial(parsed, hint=hint)
        found = Given(read(key, value), f"--set {text}")
        if name in given and given[name].value != found.value:
            raise InputError(
                f"{given[name].where} and {found.where} give different values for {name}: leave "
                f"one of them out"
            )
        given[name] = found


def _resolved(key: str, recipe: Recipe) -> list[str]:
    """`label_smoothing` stands for that of the term which has it."""
    if key != SMOOTHING:
        return [key]
    terms = [term for term in recipe.terms if hasattr(term.loss, SMOOTHING)]
    if not terms:
        raise InputError(f"--set {key} has no effect: no loss of {recipe.name} smooths labels")
    return [f"{term.name}.{key}" for term in terms]


def _unknown(key: str, hints: dict[str, Any]) -> InputError:
    term, dot, _ = key.partition(".")
    near = did_you_mean(key, hints)
    inside = [name for name in hints if name.startswith(f"{term}.")]
    if dot and not inside:
        terms = dict.fromkeys(name.partition(".")[0] for name in hints if "." in name)
        near += f" Its terms are {', '.join(terms)}"
    elif near == ".":
        near += f" Its keys are {', '.join(inside if dot else hints)}"
    return InputError(f"--set has no key {key[:60]!r} for this recipe{near}")


def _guide(key: str, text: str) -> Guide:
    if text == "correct":
        return TeacherCorrect()
    name, _, threshold = text.partition("<")
    if name != "loss":
        raise InputError(f"--set {key} must be correct or 'loss<NUMBER': got {text!r}")
    return TeacherLossBelow(parsed(key, threshold, float))


def _term(term: Term, values: Mapping[str, Any], epochs: int) -> Term:
    prefix = f"{term.name}."
    own = {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}
    weight = {name: own.pop(name) for name in WEIGHT if name in own}
    try:
        loss: Any = replace(term.loss, **own)  # type: ignore[type-var]
    except ValueError as error:  # what a loss checks itself
        raise InputError(f"--set cannot be used for {term.name}: {error}") from error
    return replace(term, loss=loss, weight=scheduled(prefix, term.weight, weight, "weight", epochs))


def _without_dropped(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    terms = tuple(
        t for t in recipe.terms if values.get(f"{t.name}.weight") != 0 or not t.loss.needs
    )
    recipe = replace(recipe, terms=terms)
    return replace(
        recipe,
        guide=recipe.guide if "guided" in recipe.needs else None,
        teacher=recipe.teacher if recipe.needs else None,
    )


def _require_own_optimizer(recipe: Recipe, values: Mapping[str, Any]) -> None:
    """Raises InputError for settings of the other optimizer, and for AdamW at SGD's rate."""
    chosen = values.get("optimizer", recipe.optimizer)
    usual = 0.001 if chosen == "adamw" else 0.1
    for name, owner in OWNERS.items():
        if name in values and chosen != owner:
            raise InputError(f"--set {name} is of optimizer {owner}: this run has {chosen}")
    if chosen != recipe.optimizer and "lr" not in values:
        raise InputError(
            f"--set optimizer={chosen} needs a learning rate of its own, as the recipe's "
            f"{recipe.learning_rate.peak:g} is for {recipe.optimizer}: add lr={usual:g} or the like"
        )


def _require_count(key: str, given: Given) -> None:
    if given.value < 1:
        raise InputError(f"{given.where} cannot be used: {key} must be 1 or more")


def _blamed(problem: str, given: Mapping[str, Given]) -> str:
    """The problem, with what was typed where its key was given."""
    key = problem.partition(" ")[0]
    return f"{given[key].where if key in given else '--set'} cannot be used: {problem}"
