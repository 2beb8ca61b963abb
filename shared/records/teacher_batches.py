"""The fixed batches of a teacher whose BatchNorm uses the statistics of its batch.

Every output of such a teacher depends on the other images of the batch, so the batches are part of
what made a cache. They are consecutive samples of a block and never cross one: a block's targets
then follow from the manifest alone, and blocks are made, resumed and repaired one by one as ever.

    block   |  256  |  256  |  256  |  256  |     every block but the last holds whole batches
    last    |  256  |  256  |     256 + 40     |     a remainder of fewer than 64 joins the batch
    last    |  256  |  256  | 100 |                  before it, a larger one is a batch itself

Few samples make noisy statistics: the relative error of a variance over n samples is about
sqrt(2 / n), 9 % at 256 and 18 % at 64 where a channel has one value a sample; one sample alone has
no variance at all.
"""

TEACHER_BATCH = 256  # the batch size of the paper's code


def least_batch(batch: int) -> int:
    """The fewest samples that make a batch of their own: 64 of 256."""
    return max(2, batch // 4)


def batches_of(rows: int, batch: int) -> list[range]:
    """The batches of a block of so many rows, as half-open ranges of its rows.

    Fewer rows than make a batch of their own are one batch all the same: `misfit` says where a
    cache would have such a block.
    """
    starts = list(range(0, rows, batch))
    if len(starts) > 1 and rows - starts[-1] < least_batch(batch):
        starts.pop()
    return [range(one, other) for one, other in zip(starts, [*starts[1:], rows], strict=True)]


def misfit(samples: int, block: int, batch: int) -> str | None:
    """Why blocks of this size cannot hold whole batches; None where they can."""
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
    """The first multiple of `batch` from `block` on that fits; `samples` make a batch at least.

    One block for all samples always does.
    """
    fitting = -(-block // batch) * batch
    while misfit(samples, fitting, batch):
        fitting += batch
    return fitting
