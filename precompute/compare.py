"""Cached against live: the same views through decoder and teacher again, number by number.

Allowed is the codec's stated bound, and noise of the arithmetic where the teacher ran elsewhere.
Negative control: the same cached numbers against a *wrong* view of the same image, which must not
pass, otherwise the comparison proves nothing. Shapes: B views of one batch.

Where the teacher used the statistics of batches, whole batches of the cache are compared: all views
that were in one are replayed together, and so are their wrong views.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from shared.cache.checks import now_bad, stored_views
from shared.cache.manifest import Manifest
from shared.cache.opening import Arrays, Cache
from shared.cache.teacher_batches import batches_of
from shared.choices import has_one_view
from shared.errors import BadImage
from shared.images.source import ImageSource
from shared.pixels.decode import image_size
from shared.pixels.view import apply, draw_view
from shared.targets.codecs import CODECS, bound_of, relative_to_maximum
from shared.targets.targets import Targets
from shared.targets.teacher import Teacher

Index = NDArray[np.int64]

# Largest error allowed beyond the codec's bound, as a share of the row's largest number. Two
# machines sum in another order; on GPUs fp32 convolutions run in TF32 (10 bits) by default.
NOISE = {"fp32": 2e-3, "bf16": 5e-2}
BATCH = 32


@dataclass
class Comparison:
    """Of one field: errors over all compared views, as shares of the row's largest number."""

    name: str
    largest: float = 0.0  # absolute error
    relative: float = 0.0
    beyond: int = 0  # views with an error beyond bound and noise


def check_targets(
    cache: Cache, source: ImageSource | None, teacher: Teacher, samples: int, device: torch.device
) -> list[str]:
    """Compares cached with live on `samples` views; prints a table; returns what failed.

    Without a source: of a cache that holds the views itself. Where the teacher used the statistics
    of batches: on whole batches, two at least, that hold so many.
    """
    manifest = cache.manifest
    codec = CODECS[manifest.codec]
    stages = manifest.teacher.channels
    head = cache.head()
    skipped = {index for index, _, _ in cache.skipped()}
    choose = _spread if manifest.teacher_batch is None else _whole_batches
    chosen = choose(samples, manifest, skipped)
    if not chosen:
        return [
            f"views are compared with the teacher: all {len(skipped):,} that were looked at are of "
            f"images that were skipped; give more --samples, or restore the images"
        ]
    bound_by = partial(bound_of, codec.name, manifest.converted_from)
    names = ["logits", *(f"channels, stage {stage + 1}" for stage in range(len(stages)))]
    right = [Comparison(name) for name in names]
    wrong = [Comparison(name) for name in names]
    passed = flips = other = controls = 0
    for view, index in tqdm(chosen, "comparing", leave=False, disable=None):
        stored = _rows(cache, view, index)
        pixels = _stack(stored_views(cache, view, source, index.tolist()))
        control = _wrong_views(cache, view, source, index.tolist(), pixels)
        fields = {name: torch.from_numpy(stored[name]) for name in _fields(cache)}
        cached = codec.decode(fields, stages, head)
        live = _cpu(teacher(pixels.to(device)))
        flips += int((live.logits.argmax(1).numpy() != stored["pred"]).sum())
        # What the teacher says of the stored class, below its best; noise may turn a tie.
        below = relative_to_maximum(live.logits)
        pred = torch.from_numpy(stored["pred"]).long()[:, None]
        near = -2 * NOISE[manifest.precision] * below.abs().amax(1)
        other += int((below.gather(1, pred)[:, 0] < near).sum())
        _compare(right, cached, live, bound_by(live, head), manifest.precision)
        # A wrong view with the same pixels (a blank image) is no control.
        differs = (pixels != control).flatten(1).any(1)
        live = _take(_cpu(teacher(control.to(device))), differs)
        bound = bound_by(live, head)
        rejected = _compare(wrong, _take(cached, differs), live, bound, manifest.precision)
        controls += int(differs.sum())
        passed += int((~rejected).sum())
    count = sum(len(index) for _, index in chosen)
    print(f"cached against live: {count} views, {flips} of which the live argmax differs")
    print("| field | max error | relative | beyond bound | wrong view: relative, beyond |")
    print("|---|---:|---:|---:|---:|")
    for good, bad in zip(right, wrong, strict=True):
        print(
            f"| {good.name} | {good.largest:.3g} | {good.relative:.2e} | {good.beyond} of {count} "
            f"| {bad.relative:.2e}, {bad.beyond} of {controls} |"
        )
    failures = [
        f"cached equals live: {good.name} differs in {good.beyond} of {count} views by up to "
        f"{good.relative:.2e} of the row's largest number; codec {codec.name} and "
        f"{manifest.precision} noise allow less: other weights, other images or a damaged teacher?"
        for good in right
        if good.beyond
    ]
    if other:
        failures.append(
            f"cached equals live: pred is another class in {other} of {count} views than the "
            f"teacher's best, beyond {manifest.precision} noise: the guided mask would be wrong"
        )
    if not controls:
        failures.append(
            f"negative control: none of the {count} views has a wrong view that looks otherwise, "
            f"so this comparison proves nothing; give more --samples"
        )
    if passed:
        failures.append(
            f"negative control: {passed} of {controls} wrong views pass as right; the teacher "
            f"does not tell views apart, so this comparison proves nothing"
        )
    return failures


def _spread(wanted: int, manifest: Manifest, skipped: set[int]) -> list[tuple[int, Index]]:
    """(view, sample indices) batches: `wanted` views spread evenly over all samples x views.

    In the order of the blocks, so that each is read for as few batches as can be.
    """
    samples = manifest.samples
    total = samples * manifest.views
    places = np.unique(np.arange(min(wanted, total)) * total // min(wanted, total))
    batches = []
    for view in range(manifest.views):
        mine = manifest.samples_at(places[places // samples == view] % samples)
        mine = mine[[index not in skipped for index in mine.tolist()]]
        batches += [(view, part) for part in np.split(mine, range(BATCH, len(mine), BATCH))]
    return [(view, index) for view, index in batches if len(index)]


def _whole_batches(wanted: int, manifest: Manifest, skipped: set[int]) -> list[tuple[int, Index]]:
    """(view, sample indices) of whole batches, as the teacher saw them, with `wanted` views or
    more: spread evenly over the cache, the first batch and the last among them."""
    size = manifest.teacher_batch
    assert size is not None
    batches = [
        (view, block, rows)
        for view in range(manifest.views)
        for block in range(manifest.blocks)
        for rows in batches_of(len(manifest.rows(block)), size)
    ]
    count = min(len(batches), max(2, -(-wanted // size)))
    chosen = []
    for place in np.linspace(0, len(batches) - 1, count).astype(int).tolist():
        view, block, rows = batches[place]
        index = manifest.samples_of(block)[rows.start : rows.stop]
        chosen.append((view, index[[sample not in skipped for sample in index.tolist()]]))
    return chosen


def _fields(cache: Cache) -> list[str]:
    facts = cache.manifest.teacher
    return list(CODECS[cache.manifest.codec].fields(facts.classes, facts.channels))


def _rows(cache: Cache, view: int, index: Index) -> Arrays:
    """The stored rows of some samples of a view, every array."""
    names = [*_fields(cache), "box", "flip", "pred"]
    places = cache.manifest.place(index)
    blocks = places // cache.manifest.block
    found: Arrays = {}
    for block in np.unique(blocks).tolist():
        inside = blocks == block
        for name, part in cache.read_block(view, block, names).items():
            rows = part[places[inside] - cache.manifest.rows(block).start]
            if name not in found:
                found[name] = np.empty((len(index), *rows.shape[1:]), rows.dtype)
            found[name][inside] = rows
    return found


def _wrong_views(
    cache: Cache, view: int, source: ImageSource | None, index: list[int], pixels: Tensor
) -> Tensor:
    """Other views of the same images: a random policy's next number, else turned by 90 degrees.

    A mirror image would not do: teachers are trained not to tell it from the original.
    """
    manifest = cache.manifest
    if manifest.format == "webdataset" and manifest.views > 1:
        return _stack(stored_views(cache, (view + 1) % manifest.views, source, index))
    if has_one_view(manifest.policy) or source is None:
        return pixels.rot90(1, (2, 3))
    draw = partial(draw_view, manifest.policy, manifest.size, manifest.seed, view + 1)
    views = {}
    for sample in index:
        data = source.read(sample)
        try:
            views[sample] = apply(draw(sample, *image_size(data)), data, manifest.size)
        except BadImage as error:  # further down than the stored view reaches
            raise now_bad(cache, source, sample, error) from error
    return _stack(views)


def _stack(views: dict[int, Tensor]) -> Tensor:
    return torch.stack(list(views.values()))


def _compare(
    totals: list[Comparison], cached: Targets, live: Targets, bound: Targets, precision: str
) -> Tensor:
    """Adds a batch to the totals; (B,) bool: the rows with any number beyond bound and noise."""
    fields = [
        (relative_to_maximum(cached.logits), relative_to_maximum(live.logits), bound.logits),
        *zip(cached.channels, live.channels, bound.channels, strict=True),
    ]
    beyond = torch.zeros(len(live.logits), dtype=torch.bool)
    if not len(beyond):
        return beyond
    for total, (mine, theirs, allowed) in zip(totals, fields, strict=True):
        error = (mine - theirs).abs()
        scale = theirs.abs().amax(dim=1, keepdim=True).clamp(min=1e-6)
        rows = (error > allowed + NOISE[precision] * scale).any(1)
        total.largest = max(total.largest, error.max().item())
        total.relative = max(total.relative, (error / scale).max().item())
        total.beyond += int(rows.sum())
        beyond |= rows
    return beyond


def _cpu(targets: Targets) -> Targets:
    return Targets(targets.logits.cpu(), tuple(mean.cpu() for mean in targets.channels))


def _take(targets: Targets, rows: Tensor) -> Targets:
    return Targets(targets.logits[rows], tuple(mean[rows] for mean in targets.channels))
