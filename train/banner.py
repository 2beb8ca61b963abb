"""The text that a run prints before its first step, and the estimate of the time left."""

from statistics import median
from typing import Any

from shared.images.source import ImageSource
from shared.units import duration
from train.input import Input
from train.recipe import Recipe, Term
from train.recipe_words import schedule_in_words
from train.setup import Setup
from train.validation import is_due

RECENT = 5  # records used for the estimate: the machine may have been busier before


def banner(setup: Setup, feed: Input) -> str:
    """The lines that describe a run: recipe, student, data, folder, device, size."""
    recipe, world = setup.recipe, setup.world
    steps, backbone = feed.steps(0), setup.student.backbone
    parameters = sum(value.numel() for value in backbone.parameters())
    network = " ".join(filter(None, (backbone.architecture, recipe.composition)))
    lines = [
        f"recipe   {recipe.name}: " + ", ".join(map(_term, recipe.terms)),
        f"student  {network}, {parameters:,} parameters, {setup.images.classes} "
        f"classes; teacher {_teacher(setup)}",
        f"data     {_data(setup)}",
        f"run      {setup.folder}",
        f"device   {setup.device}, {setup.precision}, {setup.workers} loader workers"
        + (f", {world.size} processes" if world.size > 1 else ""),
        f"size     {recipe.epochs} epochs of {steps:,} steps, {recipe.epochs * steps:,} in all; "
        f"batch {recipe.batch_size}"
        + (f", {recipe.batch_size / world.size:g} a process" if world.size > 1 else "")
        + (f", in {setup.accumulate} pieces" if setup.accumulate > 1 else ""),
    ]
    first = leaves_chance(recipe)
    if first == recipe.epochs:
        lines.append("note     no loss of this recipe trains the classifier: top-1 stays at chance")
    elif first > 0:
        lines.append(
            f"note     no loss trains the classifier before epoch {first} (Early Decay Teacher): "
            f"top-1 stays at chance, {100 / setup.images.classes:.3g}%, until then, by design"
        )
    return "\n".join(lines)


def leaves_chance(recipe: Recipe) -> int:
    """The first epoch in which a loss on the logits, which trains the classifier, is not 0."""
    on_logits = [term for term in recipe.terms if "channels" not in term.loss.needs]
    epochs = range(recipe.epochs)
    return next((e for e in epochs if any(term.weight(e) for term in on_logits)), recipe.epochs)


def time_left(records: list[dict[str, Any]], epochs: int, every: int = 1) -> str:
    """Like ", about 3.2 h left", from the records so far; "" after the last epoch."""
    seconds = seconds_left(records, epochs, every)
    return f", about {duration(seconds)} left" if seconds else ""


def seconds_left(records: list[dict[str, Any]], epochs: int, every: int = 1) -> float:
    """An estimate from the records so far, which must have one of train; 0 after the last epoch.

    every: --validate-every, of the epochs that are left.
    """
    train, val = ([r for r in records if r["split"] == split] for split in ("train", "val"))
    rest = range(train[-1]["epoch"] + 1, epochs)
    due = sum(is_due(epoch, epochs, every) for epoch in rest)
    return len(rest) * _recent(train) + due * _recent(val)


def _recent(records: list[dict[str, Any]]) -> float:
    """The median of the seconds of the last few; 0 if there are none yet."""
    seconds: list[float] = [record["seconds"] for record in records[-RECENT:]]
    return median(seconds or [0.0])


def _term(term: Term) -> str:
    return f"{term.name} x {schedule_in_words(term.weight)}"


def _teacher(setup: Setup) -> str:
    targets = setup.targets
    if targets.cache is None or not setup.recipe.needs or not (targets.cached or targets.teacher):
        return "none"
    how = "from the cache" if targets.cached else "live"
    manifest = targets.cache.manifest
    statistics = ", batch statistics" if manifest.statistics == "batch" else ""
    return f"{manifest.teacher.architecture}{statistics}, {how}"


def _data(setup: Setup) -> str:
    images, cache = setup.images, setup.targets.cache
    val = images.val.spec if isinstance(images.val, ImageSource) else images.val.where
    if cache is None:
        assert images.train is not None
        views = f"views drawn by {images.policy} at {images.size} px"
        return f"{len(images.train):,} images of {images.train.spec}, {views}; val {val}"
    facts = cache.manifest
    there = images.train.spec if images.train else "the cache's own pixels"
    return (
        f"cache {cache.where} ({facts.format}, codec {facts.codec}, {facts.views} views of "
        f"{facts.samples:,} images at {facts.size} px"
        f"{f', augmented by {facts.augment}' if facts.augment else ''}); images {there}; val {val}"
    )
