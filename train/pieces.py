"""Checks that every step's batch can be cut into pieces for --accumulate and the processes.

Every process knows the sizes of all parts of all steps. So if the check fails, all of them end with
the same message before the first step, and no process waits for another for ever.
"""

from collections.abc import Callable, Iterable

from shared.errors import InputError


def require_pieces(
    smallest_part: Callable[[int], int],
    epochs: Iterable[int],
    accumulate: int,
    processes: int,
    stride: int,
    size: int,
) -> None:
    """Raises InputError if a step cannot be cut into `accumulate` pieces in every process.

    `smallest_part(epoch)` is the size of the smallest batch that any process gets; `stride` is the
    student's, from the input to the last stage. It is an error if a process would have fewer pieces
    than the others, which may synchronise in every piece (SyncBatchNorm), or if a piece is too
    small for BatchNorm.
    """
    one_pixel = size <= stride
    if (processes == 1 or accumulate == 1) and not one_pixel:
        return
    for epoch in epochs:
        smallest = smallest_part(epoch)
        if processes > 1 and smallest < accumulate:
            raise InputError(
                f"--accumulate {accumulate} is too much: in epoch {epoch} the smallest part of a "
                f"batch that a process gets has {smallest} samples, and each piece needs one; give "
                f"a smaller --accumulate or a larger --batch-size"
            )
        if one_pixel and smallest // accumulate < 2:
            raise InputError(
                f"batches are too small for BatchNorm: in epoch {epoch} a piece of one has a "
                f"single sample, which at {size} px has a single value a channel in the last "
                f"stage; give a larger --batch-size, or a smaller --accumulate"
            )
