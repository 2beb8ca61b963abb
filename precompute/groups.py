"""Groups: the views of one block that are made together, from images that are decoded once.

Decoding an image takes several times as long as drawing a view from its pixels, so a group has as
many of the missing views as memory allows. Meanwhile each view of the group needs room for

    the pixels of one batch of the teacher, on its device
    the targets of its block (and the JPEGs, in view shards), not yet encoded
    as much again, for the block of the group before, which waits to be written

and a group has so many views that this is at most MOST_BYTES in all, however many the cache gets,
unless a single view needs more. The batches that the loader workers have ready come on top. They
are no larger than with one view, because a request with more views has fewer images.

Groups are of equal size: ten views, of which eight fit, are made as five and five.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby

from precompute.job import Job
from shared.records.block import Work
from shared.targets.codecs import num_bytes

MOST_BYTES = 1 << 30
BOX_FLIP_PRED_LABEL = 16 + 1 + 4 + 8  # bytes per row
JPEG_BYTES = 0.4  # at most, per value of a pixel: 0.15 for photographs at 224 px, 0.4 for noise

Group = tuple[Work, ...]  # of one block, by view


def most_views(job: Job) -> int:
    """How many views a group may have."""
    manifest = job.manifest
    values = 3 * manifest.size**2
    a_row = num_bytes(manifest.encoding.fields(manifest.encoding.names)) + BOX_FLIP_PRED_LABEL
    if manifest.holds_pixels:
        a_row += int(JPEG_BYTES * values)
    batch = min(manifest.teacher_batch or job.batch_size, manifest.block)
    a_view = batch * values + 2 * manifest.block * a_row
    # With more views than rows in a batch, a request would be larger than a batch of one view.
    return max(1, min(MOST_BYTES // a_view, batch))


def part_of(views: int, most: int) -> int:
    """The size of the next group, if `views` are missing and at most `most` go into a group."""
    return -(-views // -(-views // most))


def grouped(todo: Iterable[Work], most: int) -> Iterator[Group]:
    """All of `todo`, block by block."""
    in_order = sorted(todo, key=lambda work: (work.block, work.view))
    for _, works in groupby(in_order, lambda work: work.block):
        left = tuple(works)
        while left:
            size = part_of(len(left), most)
            yield left[:size]
            left = left[size:]
