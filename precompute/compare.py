"""Compares cached targets with those of the live teacher for the same views, number by number.

An error may be as large as the codec's bound plus numerical noise, as the teacher may have run on
another machine. Negative control: the same cached numbers are compared with a *wrong* view of the
same image, which must not pass, otherwise the comparison proves nothing.

If the teacher used batch statistics, whole batches are compared: the views of a batch are replayed
together, and so are their wrong views.

Shapes: B views in a batch.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from precompute.compared_views import (
    field_names,
    spread_views,
    stack,
    stored_rows,
    whole_batches,
    wrong_views,
)
from shared.errors import note
from shared.images.source import ImageSource
from shared.store.opening import Cache
from shared.store.stored_views import stored_views
from shared.targets.arrays import relative_to_maximum
from shared.targets.bounds import error_bound, error_bound_of_converted
from shared.targets.encoding import Encoding
from shared.targets.targets import Targets, on_cpu, rows_of
from shared.targets.teacher import Teacher

# Largest error allowed beyond the codec's bound, relative to the largest number in the row.
# Machines sum in different orders; on GPUs fp32 convolutions run in TF32 (10 bits) by default.
NOISE = {"fp32": 2e-3, "bf16": 5e-2}


@dataclass
class Comparison:
    """The errors of one field over all compared views."""

    name: str
    largest: float = 0.0  # absolute error
    relative: float = 0.0  # largest error / largest number of its row
    beyond: int = 0  # views with an error beyond bound and noise


def check_targets(
    cache: Cache, source: ImageSource | None, teacher: Teacher, samples: int, device: torch.device
) -> list[str]:
    """Compares cached with live on `samples` views; prints a table; returns what failed.

    The source may be None if the cache stores the views' pixels. If the teacher used batch
    statistics, whole batches with at least `samples` views are compared, and at least two.
    """
    manifest = cache.manifest
    encoding = manifest.encoding
    kinds = encoding.names
    head = cache.head()
    skipped = {index for index, _, _ in cache.skipped()}
    choose = spread_views if manifest.teacher_batch is None else whole_batches
    chosen = choose(samples, manifest, skipped)
    if not chosen:
        return [
            f"nothing was compared with the teacher, as all {len(skipped):,} views that were "
            f"chosen are of skipped images: give more --samples, or restore the images"
        ]
    bound_by = error_bound if manifest.converted_from is None else error_bound_of_converted
    right = [Comparison(name) for name in encoding.part_names()]
    wrong = [Comparison(name) for name in encoding.part_names()]
    passed = flips = other = controls = 0
    for view, index in tqdm(chosen, "comparing", leave=False, disable=None):
        stored = stored_rows(cache, view, index)
        pixels = stack(stored_views(cache, view, source, index.tolist()))
        control = wrong_views(cache, view, source, index.tolist(), pixels)
        fields = {name: torch.from_numpy(stored[name]) for name in field_names(cache)}
        cached = encoding.decode(fields, head)
        live = on_cpu(teacher(pixels.to(device), kinds))
        flips += int((live["logits"].argmax(1).numpy() != stored["pred"]).sum())
        # The live logit of the stored class, relative to the largest; noise may flip near ties.
        below = relative_to_maximum(live["logits"])
        pred = torch.from_numpy(stored["pred"]).long()[:, None]
        near = -2 * NOISE[manifest.precision] * below.abs().amax(1)
        other += int((below.gather(1, pred)[:, 0] < near).sum())
        bound = bound_by(encoding, live, head)
        _compare(right, encoding, cached, live, bound, manifest.precision)
        # A wrong view with equal pixels (of a blank image) cannot serve as a control.
        differs = (pixels != control).flatten(1).any(1)
        live = rows_of(on_cpu(teacher(control.to(device), kinds)), differs)
        bound, cached = bound_by(encoding, live, head), rows_of(cached, differs)
        rejected = _compare(wrong, encoding, cached, live, bound, manifest.precision)
        controls += int(differs.sum())
        passed += int((~rejected).sum())
    count = sum(len(index) for _, index in chosen)
    print(f"cached against live: {count} views, {flips} of which the live argmax differs")
    if manifest.teacher.rows == "near":
        print(
            f"the other images of a batch can change the last bits of this teacher's numbers: up "
            f"to {NOISE[manifest.precision]:g} of a row's largest number is allowed for that"
        )
    print("| field | max error | relative | beyond bound | wrong view: relative, beyond |")
    print("|---|---:|---:|---:|---:|")
    for good, bad in zip(right, wrong, strict=True):
        print(
            f"| {good.name} | {good.largest:.3g} | {good.relative:.2e} | {good.beyond} of {count} "
            f"| {bad.relative:.2e}, {bad.beyond} of {controls} |"
        )
    blind = [bad.name for bad in wrong if not bad.beyond]
    if blind and passed < controls:
        note(
            f"the teacher says the same {', '.join(blind)} of every wrong view, so those rows of "
            f"the table prove nothing"
        )
    failures = [
        f"cached and live {good.name} differ in {good.beyond} of {count} views "
        f"by up to {good.relative:.2e} of the row's largest number, and codec {manifest.codec} and "
        f"{manifest.precision} noise allow less: other weights, other images or a damaged teacher?"
        for good in right
        if good.beyond
    ]
    if other:
        failures.append(
            f"the cached pred is another class than the live teacher's best in {other} of "
            f"{count} views, beyond {manifest.precision} noise: the guided mask would be wrong"
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


def _compare(
    totals: list[Comparison],
    encoding: Encoding,
    cached: Targets,
    live: Targets,
    bound: Targets,
    precision: str,
) -> Tensor:
    """Adds a batch to the totals, one per part.

    Returns (B,) bool: the rows that have a number beyond bound and noise."""
    beyond = torch.zeros(len(live["logits"]), dtype=torch.bool)
    if not len(beyond):
        return beyond
    sides = (_with_relative_logits(cached), _with_relative_logits(live), bound)
    parts = zip(*map(encoding.parts_of, sides), strict=True)
    for total, (mine, theirs, allowed) in zip(totals, parts, strict=True):
        error = (mine - theirs).abs()
        scale = theirs.abs().amax(dim=1, keepdim=True).clamp(min=1e-6)
        rows = (error > allowed + NOISE[precision] * scale).any(1)
        total.largest = max(total.largest, error.max().item())
        total.relative = max(total.relative, (error / scale).max().item())
        total.beyond += int(rows.sum())
        beyond |= rows
    return beyond


def _with_relative_logits(targets: Targets) -> Targets:
    """Logits are defined up to a constant per row; bounds are for logits minus their maximum."""
    if "logits" not in targets:
        return targets
    return {**targets, "logits": relative_to_maximum(targets["logits"])}
