"""The text that a precompute run prints before its first batch."""

import torch

from precompute.estimate import most_bytes
from precompute.job import Job
from shared.distributed import World
from shared.models.plain_resnet import PlainResNet
from shared.records.block import Work
from shared.records.identity import cache_id
from shared.records.manifest import Manifest
from shared.store.opening import Cache
from shared.targets.codecs import CODECS
from shared.units import size


def banner(job: Job, cache: Cache, todo: list[Work], mine: int, world: World) -> str:
    """Four lines, and one more for networks of other libraries. Of this process's `mine` blocks,
    those of `todo` lack something."""
    manifest, facts = cache.manifest, cache.manifest.teacher
    plain = isinstance(job.teacher.model, PlainResNet)
    network = [] if plain else [_network(job)]
    stem = f"stem {facts.stem}, " if plain else ""
    process = f", process {world.rank} of {world.size}" if world.size > 1 else ""
    at_most = most_bytes(manifest, job.source, manifest.samples * manifest.views)
    return "\n".join(
        [
            f"teacher  {facts.architecture} ({stem}{facts.weights}), "
            f"{manifest.precision} on {device_name(job.device)}{_statistics(manifest)}, "
            f"{job.workers} decoding processes{process}",
            *network,
            f"from     {job.source.spec}, {manifest.split}: {manifest.samples:,} images of "
            f"{len(job.source.classes):,} classes",
            f"to       {cache.where}: {manifest.format}, codec {manifest.codec}, {manifest.views} "
            f"views of {manifest.size} px ({manifest.view_policy}), at most {size(at_most)}; cache "
            f"{cache_id(manifest)}",
            f"blocks   {_blocks(todo, mine)}, up to {manifest.block:,} images each",
        ]
    )


def _network(job: Job) -> str:
    """The stages that were found or named, and how the logits are kept."""
    model, manifest = job.teacher.model, job.manifest
    names = model.stage_modules or [f"stages()[{s}]" for s in range(len(model.channels))]
    named = [f"output {name}" if name.isdecimal() else name for name in names]  # timm's
    stages = ", ".join(f"{name} ({c})" for name, c in zip(named, model.channels, strict=True))
    text = f"stages   {stages}; embedding of {model.embedding_width:,} numbers"
    if CODECS[manifest.codec].derives_logits and "logits" in manifest.targets:
        text += (
            ", from which the logits follow"
            if manifest.encoding.derives_logits
            else "; the logits are not a linear function of it, so they are stored"
        )
    if manifest.teacher.rows == "near":
        text += "; the other images of a batch can change the last bits"
    return text


def _blocks(todo: list[Work], mine: int) -> str:
    """How many blocks are there, and what the others lack where it is not all."""
    whole = sum("" in work.layers for work in todo)
    parts = [f"{mine - whole} of {mine} blocks are there"]
    if whole or not todo:
        parts.append(f"{whole} to make")
    if partly := [work for work in todo if "" not in work.layers]:
        kinds = sorted({layer for work in partly for layer in work.layers})
        parts.append(f"{' and '.join(kinds)} to add to {len(partly)}")
    return ", ".join(parts)


def _statistics(manifest: Manifest) -> str:
    if manifest.teacher_batch is None:
        return ""
    return f", statistics of batches of {manifest.teacher_batch}"


def device_name(device: torch.device) -> str:
    """`cpu`, or a GPU with its name: `cuda:0 (NVIDIA H200)`."""
    if device.type != "cuda":
        return str(device)
    return f"{device} ({torch.cuda.get_device_name(device)})"
