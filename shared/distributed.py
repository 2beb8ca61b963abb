"""Rank and world size, as torchrun hands them out. One process is a world of 1, not a branch."""

import os
from dataclasses import dataclass

from shared.errors import InputError


@dataclass(frozen=True)
class World:
    rank: int = 0
    size: int = 1
    local_rank: int = 0  # position on this machine: which GPU


def read_world() -> World:
    """From RANK, WORLD_SIZE and LOCAL_RANK. InputError where they are no ranks."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    found = [os.environ.get(name) for name in names]
    if found[1] is None:
        return World()
    try:
        rank, size, local_rank = (int(value or 0) for value in found)
    except ValueError:
        rank, size, local_rank = -1, -1, -1
    if not 0 <= rank < size or local_rank < 0:
        raise InputError(
            f"RANK and WORLD_SIZE must be 0 <= rank < size: got {found[0]} and {found[1]}; start "
            f"with torchrun, or unset them"
        )
    return World(rank, size, local_rank)
