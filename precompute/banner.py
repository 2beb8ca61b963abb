"""The text that a precompute run prints before its first batch."""

import torch

from precompute.estimate import most_bytes
from precompute.job import Job
from shared.cache.opening import Cache
from shared.distributed import World
from shared.records.identity import cache_id
from shared.records.manifest import Manifest
from shared.units import size


def banner(job: Job, cache: Cache, todo: int, mine: int, world: World) -> str:
    """Four lines. `todo` of this process's `mine` blocks must still be made."""
    manifest, facts = cache.manifest, cache.manifest.teacher
    process = f", process {world.rank} of {world.size}" if world.size > 1 else ""
    at_most = most_bytes(manifest, job.source, manifest.samples * manifest.views)
    return "\n".join(
        [
            f"teacher  {facts.architecture} (stem {facts.stem}, {facts.weights}), "
            f"{manifest.precision} on {device_name(job.device)}{_statistics(manifest)}, "
            f"{job.workers} decoding processes{process}",
            f"from     {job.source.spec}, {manifest.split}: {manifest.samples:,} images of "
            f"{len(job.source.classes):,} classes",
            f"to       {cache.where}: {manifest.format}, codec {manifest.codec}, {manifest.views} "
            f"views of {manifest.size} px ({manifest.policy}), at most {size(at_most)}; cache "
            f"{cache_id(manifest)}",
            f"blocks   {mine - todo} of {mine} blocks are there, {todo} to make, up to "
            f"{manifest.block:,} images each",
        ]
    )


def _statistics(manifest: Manifest) -> str:
    if manifest.teacher_batch is None:
        return ""
    return f", statistics of batches of {manifest.teacher_batch}"


def device_name(device: torch.device) -> str:
    """`cpu`, or a GPU with its name: `cuda:0 (NVIDIA H200)`."""
    if device.type != "cuda":
        return str(device)
    return f"{device} ({torch.cuda.get_device_name(device)})"
