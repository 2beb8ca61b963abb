"""Describes what a run would do (--dry-run): losses, weights, the cache, steps, time."""

import time
from itertools import groupby, islice

from shared.device import processes_here
from shared.machine import memory_bytes
from shared.store.opening import Cache
from shared.store.view_memory import memory_problem, view_memory, what_fits
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
        *_machine(setup),
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


def _machine(setup: Setup) -> list[str]:
    """What the targets of a view take in the memory of a machine, and what an epoch reads."""
    cache, needs = setup.targets.cache, setup.recipe.needs
    if cache is None or not setup.targets.cached:
        return []
    manifest, memory = cache.manifest, memory_bytes()
    view, read = view_memory(manifest, needs), size(_bytes_read(cache, setup))
    if view.is_streamed:
        return [f"machine  {read} read per epoch: view shards are streamed, and not kept in memory"]
    machines = max(1, setup.world.size // processes_here())
    lines = [
        f"machine  {size(view.view)} of targets a view ({view.row:,} bytes an image), of which "
        f"{size(view.resident / machines)} lie in the {size(memory)} of memory of each of "
        f"{machines}, for all its processes; {read} read per epoch"
    ]
    if problem := memory_problem(manifest, memory * machines, needs):
        fits = what_fits(manifest, memory * machines, needs)
        lines.append(f"NOTE: {problem}; {fits}; precompute/convert.py makes a smaller codec")
    return lines


def _bytes_read(cache: Cache, setup: Setup) -> int:
    """Bytes of the files of a view that have what the recipe needs."""
    manifest = cache.manifest
    names = {"box", "flip", "pred", *manifest.encoding.needed(setup.recipe.needs)}
    total = 0
    for block in range(manifest.blocks):
        for layer in manifest.layers_for(setup.recipe.needs):
            paths = cache.format.array_paths(manifest, 0, block, layer)
            files = cache.receipt(0, block, layer).files
            total += sum(files[path][0] for path in {paths[name] for name in names & paths.keys()})
    return total


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
