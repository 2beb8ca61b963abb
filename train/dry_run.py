"""Describes what a run would do (--dry-run): losses, weights, the cache, steps, time."""

import time
from itertools import groupby, islice

from shared.units import duration, size
from train.input import Input
from train.recipe_words import in_words
from train.setup import Setup
from train.step import train_step

STEPS = 4  # steps that are run on the real input; the first is not timed


def describe(setup: Setup, feed: Input) -> str:
    """A few lines of text. Runs STEPS steps with the student; writes no files."""
    recipe = setup.recipe
    steps = feed.steps(0)
    seconds = _step_seconds(setup, feed)
    lines = [
        f"{recipe.name}: {setup.identity['student']}, {recipe.epochs} epochs, batch "
        f"{recipe.batch_size} over {setup.world.size} x {setup.accumulate} parts, "
        f"{setup.precision} on {setup.device}",
        *in_words(recipe),
        *_weights(setup),
        _cache(setup),
        *_memory(setup),
        f"{steps:,} steps an epoch, {steps * recipe.epochs:,} in all, {duration(seconds)} each "
        f"(measured): {duration(steps * recipe.epochs * seconds)}, val splits aside",
        "dry run: nothing was written",
    ]
    return "\n".join(lines)


def _weights(setup: Setup) -> list[str]:
    """A Markdown table with a row for each range of epochs with the same weights."""
    recipe = setup.recipe
    names = ["lr", *(term.name for term in recipe.terms)]
    rows = [names, ["---:" for _ in names]]
    spans = ["epochs", "---"]
    values = [
        (recipe.learning_rate(epoch), *recipe.weights(epoch).values())
        for epoch in range(recipe.epochs)
    ]
    first = 0
    for value, group in groupby(values):
        end = first + len(list(group))
        spans.append(f"{first}" if end == first + 1 else f"{first} to {end - 1}")
        rows.append([f"{number:.6g}" for number in value])
        first = end
    return ["| " + " | ".join([span, *row]) + " |" for span, row in zip(spans, rows, strict=True)]


def _cache(setup: Setup) -> str:
    images, cache, tails = setup.images, setup.targets.cache, setup.targets.tails
    if cache is None:
        return f"no cache: views are drawn by {images.policy} at {images.size} px"
    facts = cache.manifest
    each = cache.num_bytes(layers=facts.layers_for(setup.recipe.needs)) / facts.samples
    return (
        f"{cache.where}: {facts.format}, codec {facts.codec}, {facts.views} views of "
        f"{facts.samples:,} images at {facts.size} px, {each:,.0f} bytes a view, "
        f"{f'augmented by {facts.augment}, ' if facts.augment else ''}teacher "
        f"{facts.teacher.architecture}" + (f"\n{tails.line()}" if tails else "")
    )


def _memory(setup: Setup) -> list[str]:
    memory = setup.targets.fixed.memory
    if memory is None:
        return []
    samples, width = memory.student.shape
    return [
        f"memory   2 x {width} numbers of each of {samples:,} images: {size(memory.num_bytes)} on "
        f"{setup.device}, and in last.pt"
    ]


def _step_seconds(setup: Setup, feed: Input) -> float:
    """Mean seconds per step with loading, without the first step if there are several."""
    weights = setup.recipe.weights(0)
    setup.student.train()
    marks = [time.perf_counter()]
    for pixels, batch in islice(feed.batches(0), STEPS):
        x = setup.normalisation(pixels)
        _, losses = train_step(
            setup.student, setup.optimizer, setup.recipe, weights, x, batch, setup.precision,
            parts=setup.accumulate,
        )  # fmt: skip
        losses["total"].item()  # waits for the device
        marks.append(time.perf_counter())
    later = marks[1:] if len(marks) > 2 else marks
    return (later[-1] - later[0]) / (len(later) - 1)
