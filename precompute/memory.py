"""Says before anything is written or computed if a cache will be too large, and what would fit.

disk      a run is refused if the disk has no room for the cache
memory    a run is refused if the few blocks that it keeps in memory cannot fit
training  goes through a view in windows if it does not fit into memory; that is a note, since
          it works, and can be done on a larger machine
"""

from precompute.estimate import require_space
from precompute.fill import WAITING_BLOCKS
from precompute.groups import BOX_FLIP_PRED_LABEL
from precompute.job import Job
from shared.device import processes_here
from shared.distributed import World
from shared.errors import InputError, note
from shared.files.objects import open_files
from shared.machine import memory_bytes
from shared.records.block import Work
from shared.records.manifest import Manifest
from shared.store.opening import Cache, has_split
from shared.store.view_memory import memory_problem, what_fits
from shared.targets.codecs import num_bytes
from shared.units import size

# Blocks in memory at a time, if they are so large that a group has one view (groups.py bounds the
# others): the open one and the one that was just finished, those that wait for the writer, and the
# one that is written, twice while it is encoded.
BLOCKS = 2 + WAITING_BLOCKS + 2
CHUNK = 1024  # a block of zarr has at most so many images, or a multiple of it


def require_fitting(job: Job, location: str, world: World) -> None:
    """Raises InputError if a new cache cannot be made; prints a note if training will be slow."""
    require_memory(job.manifest)
    if has_split(location, job.manifest.split):
        return
    cache = Cache(open_files(location, job.manifest.split), job.manifest)
    layers = job.manifest.layers
    require_space(cache, job.source, [Work(*unit, layers) for unit in cache.units()])
    if world.is_first and job.manifest.split == "train":
        note_memory(job.manifest)


def note_memory(manifest: Manifest) -> None:
    """Prints a note if training from this cache cannot keep a view in memory."""
    memory = memory_bytes()
    problem = memory_problem(manifest, memory)
    if problem is not None:
        note(f"{problem}; {what_fits(manifest, memory)}")


def require_memory(manifest: Manifest, image_bytes: float = 0.0) -> None:
    """Raises InputError if the blocks of the processes on this machine cannot fit into its memory.

    `image_bytes`: the mean bytes of a JPEG in a view shard."""
    memory, processes = memory_bytes(), processes_here()
    row = block_row_bytes(manifest) + image_bytes
    rows = min(manifest.block, manifest.samples)
    needed = processes * BLOCKS * rows * row
    if needed > memory:
        fits = max(1, int(memory / 2 / (processes * BLOCKS * row)))
        if fits > CHUNK:
            fits -= fits % CHUNK
        several = f" in {processes} processes" if processes > 1 else ""
        raise InputError(
            f"blocks of {rows:,} images do not fit into memory: {BLOCKS} of them at {size(row)} an "
            f"image take {size(needed)}{several}, and this machine has {size(memory)}; give "
            f"--block {fits}, a smaller --codec or fewer --targets"
        )


def block_row_bytes(manifest: Manifest) -> int:
    """Bytes per image of all layers of a block that is being made."""
    return num_bytes(manifest.encoding.fields()) + BOX_FLIP_PRED_LABEL
