"""The samples on which the teacher's loss is highest, where users look for wrong labels.

The loss of a sample is the cross entropy of the teacher's prediction with the label, averaged over
the views. As data it is a CSV, the worst sample first:

    key        the sample's name in the source
    index      its place in the source, as precompute/show.py --index takes it
    label      the name of its class
    answer     the class that the teacher gives in most views
    votes      the number of views in which it does
    views      the number of views that were read
    loss       in nats
"""

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np

from precompute.cache_statistics import NOT_SEEN, CacheStatistics
from shared.errors import InputError
from shared.images.source import ImageSource
from shared.store.classes_file import offers_logits
from shared.store.opening import Cache
from shared.store.static_files import stored_keys
from shared.store.stored_views import shard

LISTED = 1000  # samples in the CSV
PICTURED = 24  # on the page


@dataclass(frozen=True)
class Worst:
    key: str
    index: int
    label: str
    answer: str
    votes: int
    views: int
    loss: float


def worst_labelled(
    found: CacheStatistics,
    cache: Cache,
    source: ImageSource | None,
    names: Sequence[str],
    most: int = LISTED,
) -> list[Worst]:
    """At most `most` samples with the highest loss, the worst first; equal ones in source order.

    `names`: those of the classes. View shards of a source that is gone are read for their keys."""
    loss = np.where(found.labels == NOT_SEEN, -np.inf, found.loss)
    count = min(most, found.samples)
    order = np.argsort(-loss, kind="stable")[:count]
    keys = keys_of(cache, source, order.tolist())
    listed = []
    for index in order.tolist():
        votes = np.bincount(found.answers[:, index], minlength=len(names))
        answer = int(votes.argmax())
        listed.append(
            Worst(
                keys[index],
                index,
                names[found.labels[index]],
                names[answer],
                int(votes[answer]),
                len(found.views),
                float(found.loss[index]) / len(found.views),
            )
        )
    return listed


def keys_of(cache: Cache, source: ImageSource | None, wanted: Sequence[int]) -> dict[int, str]:
    """Sample index -> its key, or "sample 7" where the cache has none and the source is gone."""
    named = {index: f"sample {index}" for index in wanted}
    if source is not None:
        return {index: source.keys[index] for index in wanted}
    if not cache.manifest.holds_pixels:
        keys = stored_keys(cache)
        return named if keys is None else {index: keys[index] for index in wanted}
    blocks = cache.manifest.place(np.array(wanted, np.int64)) // cache.manifest.block
    for block in np.unique(blocks).tolist():
        for sample in shard(cache, 0, block):
            if sample.index in named and sample.key:
                named[sample.index] = sample.key
    return named


def as_csv(worst: Sequence[Worst]) -> bytes:
    buffer = io.StringIO()
    rows = csv.writer(buffer, lineterminator="\n")
    rows.writerow(field.name for field in fields(Worst))
    for one in worst:
        rows.writerow([*astuple(one)[:-1], f"{one.loss:.6g}"])
    return os.fsencode(buffer.getvalue())


def require_loss(cache: Cache) -> None:
    """Raises InputError if there are no logits of the classes of the images."""
    if not offers_logits(cache.manifest):
        raise InputError(
            f"--worst needs the teacher's loss, and {cache.where} has no logits of the classes of "
            f"its images: add them with the same precompute/run.py command and --targets logits, "
            f"or leave --worst out"
        )
