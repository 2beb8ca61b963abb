"""The fixed batches of a teacher whose BatchNorm normalises with the statistics of its batch.

Each output of this teacher depends on the other images in the batch, so the batches are part of
what defines a cache. A batch is a run of consecutive samples in one block. The targets of a block
therefore follow from the manifest alone, and blocks can be made, resumed and repaired one by one.

    block   |  256  |  256  |  256  |  256  |     every block but the last has whole batches
    last    |  256  |  256  |     256 + 40     |     a remainder of fewer than 64 joins the batch
    last    |  256  |  256  | 100 |                  before it, a larger one is its own batch

Few samples give noisy statistics: for a channel with one value per sample, the relative error of
the variance over n samples is about sqrt(2 / n), 9 % at 256 and 18 % at 64. A single sample has no
variance.
"""

TEACHER_BATCH = 256  # the batch size of the paper's code


def least_batch(batch: int) -> int:
    """The smallest remainder that is a batch of its own: 64 if `batch` is 256."""
    return max(2, batch // 4)


def batches_of(rows: int, batch: int) -> list[range]:
    """The batches of a block with `rows` rows, as half-open ranges of its rows.

    A block with fewer than least_batch(batch) rows is one batch too; `misfit` detects caches that
    would have such a block.
    """
    starts = list(range(0, rows, batch))
    if len(starts) > 1 and rows - starts[-1] < least_batch(batch):
        starts.pop()
    return [range(one, other) for one, other in zip(starts, [*starts[1:], rows], strict=True)]


def misfit(samples: int, block: int, batch: int) -> str | None:
    """Why blocks of this size cannot be divided into batches; None if they can."""
    if block % batch:
        return f"blocks of {block:,} samples do not hold whole batches of {batch:,}"
    last = samples % block
    if 0 < last < least_batch(batch):
        return (
            f"the last block of {samples:,} samples in blocks of {block:,} would hold {last:,}, "
            f"and a batch must hold {least_batch(batch):,} or more"
        )
    return None


def fitting_block(samples: int, block: int, batch: int) -> int:
    """The smallest multiple of `batch` that is at least `block` and has no `misfit`.

    `samples` must be enough for one batch; then a single block for all samples always fits.
    """
    fitting = -(-block // batch) * batch
    while misfit(samples, fitting, batch):
        fitting += batch
    return fitting
