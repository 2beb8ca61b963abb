"""What a run is about to do, before its first step; and how much time it still needs."""

from statistics import median
from typing import Any

from shared.images.source import ImageSource
from shared.units import duration
from train.input import Input
from train.recipe import Recipe, Term
from train.schedule import Constant, Schedule, Steps, SwitchedOn
from train.setup import Setup

RECENT = 5  # epochs; a machine may have been busier before


def banner(setup: Setup, feed: Input) -> str:
    """Lines of text. What, from where, to where, on what, how much."""
    recipe, world = setup.recipe, setup.world
    steps, backbone = feed.steps(0), setup.student.backbone
    parameters = sum(value.numel() for value in backbone.parameters())
    lines = [
        f"recipe   {recipe.name}: " + ", ".join(map(_term, recipe.terms)),
        f"student  {backbone.architecture}, {parameters:,} parameters, {setup.classes} classes; "
        f"teacher {_teacher(setup)}",
        f"data     {_data(setup)}",
        f"run      {setup.folder}",
        f"device   {setup.device}, {setup.precision}, {setup.workers} loader workers"
        + (f", {world.size} processes" if world.size > 1 else ""),
        f"size     {recipe.epochs} epochs of {steps:,} steps, {recipe.epochs * steps:,} in all; "
        f"batch {recipe.batch_size}"
        + (f", {recipe.batch_size / world.size:g} a process" if world.size > 1 else "")
        + (f", in {setup.accumulate} pieces" if setup.accumulate > 1 else ""),
    ]
    if first := leaves_chance(recipe):
        lines.append(
            f"note     no loss trains the classifier before epoch {first} (Early Decay Teacher): "
            f"top-1 stays at chance, {100 / setup.classes:.3g}%, until then, by design"
        )
    return "\n".join(lines)


def leaves_chance(recipe: Recipe) -> int:
    """The first epoch in which a loss on the logits, which trains the classifier, has a weight."""
    on_logits = [term for term in recipe.terms if "channels" not in term.loss.needs]
    epochs = range(recipe.epochs)
    return next((e for e in epochs if any(term.weight(e) for term in on_logits)), recipe.epochs)


def time_left(records: list[dict[str, Any]], epochs: int) -> str:
    """ ", about 3.2 h left" from the records of the epochs so far; "" after the last one."""
    by_epoch: dict[int, float] = {}
    for record in records:
        by_epoch[record["epoch"]] = by_epoch.get(record["epoch"], 0.0) + record["seconds"]
    rest = epochs - 1 - max(by_epoch)
    seconds = rest * median(list(by_epoch.values())[-RECENT:])
    return f", about {duration(seconds)} left" if rest > 0 else ""


def _term(term: Term) -> str:
    return f"{term.name} x {_weight(term.weight)}"


def _weight(weight: Schedule) -> str:
    match weight:
        case Constant(value):
            return f"{value:g}"
        case Steps(value, factor, milestones):
            return f"{value:g} (x {factor:g} at epochs {', '.join(map(str, milestones))})"
        case SwitchedOn(schedule, start):
            return f"{_weight(schedule)} from epoch {start}"


def _teacher(setup: Setup) -> str:
    if setup.cache is None or not (setup.use_targets or setup.teacher) or not setup.recipe.needs:
        return "none"
    how = "from the cache" if setup.use_targets else "live"
    facts = setup.cache.manifest
    statistics = ", batch statistics" if facts.statistics == "batch" else ""
    return f"{facts.teacher.architecture}{statistics}, {how}"


def _data(setup: Setup) -> str:
    val = setup.val.spec if isinstance(setup.val, ImageSource) else setup.val.where
    if setup.cache is None:
        assert setup.train is not None
        views = f"views drawn by {setup.policy} at {setup.size} px"
        return f"{len(setup.train):,} images of {setup.train.spec}, {views}; val {val}"
    facts = setup.cache.manifest
    images = setup.train.spec if setup.train else "the cache's own pixels"
    return (
        f"cache {setup.cache.where} ({facts.format}, codec {facts.codec}, {facts.views} views of "
        f"{facts.samples:,} images at {facts.size} px); images {images}; val {val}"
    )
