"""The main function of precompute/show.py.

The page has, from top to bottom:

- what the cache is made of, and notes on what is missing;
- over the split: accuracy by view, share of guided samples, confidence, calibration, heavy tails;
- the samples on which the teacher's loss is highest, where wrong labels are found;
- some samples: the source with the view's box on it, the view as the network sees it, the teacher's
  five likeliest classes, and the channel means, compared with the split's.
"""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from precompute.cache_statistics import CacheStatistics, measure
from precompute.complete_views import complete_views, ranges
from precompute.shown_samples import Sample, choose, class_names, look_at
from precompute.worst_labelled import (
    LISTED,
    PICTURED,
    Worst,
    as_csv,
    require_loss,
    worst_labelled,
)
from shared.errors import InputError, note
from shared.files.local import LocalFiles
from shared.images.source import ImageSource, open_source
from shared.store.checks import require_pixels, require_source
from shared.store.opening import Cache, open_cache
from shared.store.tails_file import read_tails
from shared.targets.tails import Tails

MOST_SAMPLES = 40  # so that a page stays below 5 MB
ENDINGS = (".html", ".png")
DOWNLOADED = ("imagenette", "cifar10", "cifar100")


@dataclass(frozen=True)
class Shown:
    cache: Cache
    found: CacheStatistics
    source: ImageSource | None
    samples: list[Sample]
    worst: list[Worst]
    tails: Tails | None
    notes: list[str]

    def standardised(self, channels: NDArray[np.float32]) -> NDArray[np.float64]:
        """A view's channel means, as the distance from the split's in deviations."""
        spread = self.found.channel_deviations
        if self.tails is not None:
            spread = np.concatenate([np.array(stage) for stage in self.tails.spread])
        away: NDArray[np.float64] = channels - self.found.channel_means
        return away / np.where(spread > 0, spread, 1.0)


def show(flags: argparse.Namespace) -> int:
    outs = [_checked(Path(name), ENDINGS, "--out") for name in flags.out]
    worst_file = _checked(Path(flags.worst), (".csv",), "--worst") if flags.worst else None
    if not 0 <= flags.samples <= MOST_SAMPLES or len(flags.index or ()) > MOST_SAMPLES:
        raise InputError(
            f"a page shows 0 to {MOST_SAMPLES} samples: got "
            f"{len(flags.index) if flags.index else flags.samples}; give --samples or --index fewer"
        )
    cache = open_cache(flags.cache, flags.split)
    shown = gather(cache, flags, needs_loss=worst_file is not None)
    for text in shown.notes:
        note(text)
    _tell(shown)
    if worst_file is not None:
        _write(worst_file, as_csv(shown.worst))
        print(f"worst: {worst_file}")
    for out in outs:
        _write(out, _drawn(shown, out.suffix))
        print(f"{'page' if out.suffix == '.html' else 'picture'}: {out}")
    return 0


def gather(cache: Cache, flags: argparse.Namespace, needs_loss: bool = False) -> Shown:
    """Reads all that is shown. Raises InputError if a block is damaged, or no view is complete."""
    views = complete_views(cache)
    if needs_loss:
        require_loss(cache)
    source, notes = open_images(cache, flags.images)
    if len(views) < cache.manifest.views:
        notes.append(
            f"{cache.where} is incomplete: of its {cache.manifest.views:,} views only "
            f"{ranges(views)} can be shown; the same precompute/run.py command makes the rest"
        )
    elif source is not None and not cache.manifest.holds_pixels:
        try:
            require_pixels(cache, source)
        except InputError as error:
            notes.append(f"the pictures may not be what the teacher saw: {error}")
    found = measure(cache, views)
    tails = None
    try:
        tails = read_tails(cache)
    except InputError as error:
        notes.append(str(error))
    names = class_names(cache)
    chosen = choose(found, flags.samples, flags.seed, flags.index, flags.view)
    samples = look_at(cache, found, source, names, chosen)
    most = LISTED if flags.worst else PICTURED
    worst = worst_labelled(found, cache, source, names[0], most) if found.has_loss else []
    return Shown(cache, found, source, samples, worst, tails, notes + _lacks(cache, found))


def open_images(cache: Cache, images: str | None) -> tuple[ImageSource | None, list[str]]:
    """The images of a cache and a note, if they are not there.

    Raises InputError if `images`, as the user gave them, cannot be opened or are others."""
    manifest = cache.manifest
    spec = images or manifest.source.spec
    if images is None and manifest.holds_pixels and spec in DOWNLOADED:
        return None, []
    try:
        source = open_source(spec, manifest.split, limit=manifest.samples)
        require_source(cache, source)
    except InputError as error:
        if images is not None:
            raise
        lost = "sources and boxes" if manifest.holds_pixels else "pictures"
        return None, [
            f"there are no {lost}, as the images of the cache were not found; --images says where "
            f"they are ({error})"
        ]
    return source, []


def _lacks(cache: Cache, found: CacheStatistics) -> list[str]:
    """What the cache does not allow to show, and why."""
    manifest = cache.manifest
    notes = []
    if not found.has_labels:
        notes.append(
            f"the teacher has {manifest.teacher.classes:,} classes and the images have "
            f"{len(manifest.source.classes):,}, so its answers cannot be compared with the labels"
        )
    if not found.has_logits:
        notes.append(
            "the cache has no logits: probabilities, confidence and the samples with the highest "
            "loss are left out; --targets logits of precompute/run.py adds them"
        )
    if not found.has_channels:
        notes.append(
            "the cache has no channel means; --targets channels of precompute/run.py adds them"
        )
    if left_out := len(cache.skipped()):
        notes.append(f"{left_out:,} images do not decode and were left out of the cache")
    return notes


def _checked(out: Path, endings: tuple[str, ...], flag: str) -> Path:
    """Raises InputError, before any work, if the file's name or folder cannot be used."""
    if out.suffix not in endings:
        raise InputError(f"{flag} must end in {' or '.join(endings)}: got {out}")
    folder = out.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if out.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(
            f"{flag} {out} cannot be written: {out if out.is_dir() else folder} is not a "
            f"{'file' if out.is_dir() else 'folder that can be written to'}; give another"
        )
    return out


def _write(out: Path, data: bytes) -> None:
    LocalFiles(out.parent).write(out.name, data)


def _drawn(shown: Shown, ending: str) -> bytes:
    if ending == ".html":
        from precompute.show_page import make_page

        return make_page(shown).encode(errors="backslashreplace")
    from precompute.show_picture import draw_picture

    return draw_picture(shown)


def _tell(shown: Shown) -> None:
    found = shown.found
    print(f"views    {ranges(found.views)} of {found.samples:,} samples")
    if found.has_labels:
        guided = "" if shown.cache.manifest.view_policy.mixes else f", {found.guided:.2%} guided"
        print(f"teacher  {found.accuracy:.2%} right{guided}")
    if found.has_loss:
        print(f"         confidence off by {100 * found.calibration_error:.1f} points")
