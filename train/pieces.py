"""Whether every step of a run can be cut as --accumulate and the number of processes ask for.

Every process knows the sizes of all parts of all steps, so that all of them end with the same line
before the first step, and none waits for another forever.
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
    """`smallest_part`: of an epoch, samples of the smallest batch that any process gets; `stride`:
    of the student, pixels of the input a pixel of the last stage.

    InputError where a process would cut its part into fewer pieces than the others do, as they may
    meet in every piece (SyncBatchNorm); or where a piece is too small for BatchNorm.
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
