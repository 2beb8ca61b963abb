"""Reads the samples in a view shard, from bytes whose hash has been checked."""

import json
import tarfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from shared.errors import InputError
from shared.files import schema
from shared.files.retry import one_line
from shared.records.manifest import Manifest

MEMBERS = {  # version of the format -> the members of a sample, in order
    1: ("cls", "jpg", "targets"),
    2: ("json", "jpg", "targets"),
}

_USUAL = {"index": schema.integer(0, 10**9), "key": schema.text, "label": schema.integer(0, 10**6)}
# The .json of a sample, and that of one whose view is mixed of two images
_FACTS = schema.record(_USUAL)
_MIXED_FACTS = schema.record(
    {**_USUAL, "partner_label": schema.integer(0, 10**6), "share": schema.share}
)


def members_of(manifest: Manifest, layer: str) -> tuple[str, ...]:
    return (layer,) if layer else MEMBERS[manifest.format_version]


@dataclass(frozen=True, slots=True)
class StoredView:
    index: int  # in the source
    label: int
    key: str  # "" in shards of version 1
    jpeg: bytes
    targets: bytes  # packed, see webdataset_format.unpack
    layers: Mapping[str, bytes] = field(default_factory=dict)  # layer -> packed targets
    # (label of the partner, weight of the own label) if the cache mixes views
    mixed: tuple[int, float] | None = None
    start: int = 0  # first byte of the JPEG in the shard


def samples(
    manifest: Manifest, block: int, shard: bytes, skipped: Collection[int] | None = None
) -> Iterator[StoredView]:
    """The samples in a block's shard, in order. The shard's hash must have been checked.

    If `skipped` is given, all samples of the block but those must be there. Raises InputError if
    the shard does not have the contents that webdataset_format writes.
    """
    return samples_in(manifest, block, shard, "", skipped)


def layer_samples(
    manifest: Manifest, block: int, shard: bytes, layer: str, skipped: Collection[int]
) -> Iterator[tuple[int, bytes]]:
    """(sample index, packed targets) for each sample in a layer's shard, in the block's order."""
    return ((s.index, s.targets) for s in samples_in(manifest, block, shard, layer, skipped))


def joined(
    views: Iterator[StoredView], sides: Mapping[str, Iterator[tuple[int, bytes]]]
) -> Iterator[StoredView]:
    """The views of a block with the targets in its layers. Raises InputError if samples differ."""
    for view in views:
        found = {layer: next(side, (-1, b"")) for layer, side in sides.items()}
        for layer, (index, _) in found.items():
            if index != view.index:
                raise InputError(
                    f"the shard of {layer} has sample {index} where {view.index} is due, and all "
                    f"shards of a block hold the same samples in the same order: delete its "
                    f"receipt and run the same precompute/run.py command again"
                )
        yield replace(view, layers={layer: data for layer, (_, data) in found.items()})


def samples_in(
    manifest: Manifest,
    block: int,
    shard: bytes,
    layer: str,
    skipped: Collection[int] | None = None,
) -> Iterator[StoredView]:
    """The samples in the shard of a block (layer "") or of a layer, where they have targets only.

    A header is a 512-byte block with the name at 0..100 and the size, octal, at 124..135. Contents
    are padded to whole blocks, and a block of zeros ends the tar. tarfile is not used, because it
    would check again what the hash has proved, and with it a cache is read at a third of the speed
    (tests/bench/store.py).
    """
    members = members_of(manifest, layer)
    inside = set(manifest.samples_of(block).tolist())
    classes = len(manifest.source.classes)
    at = 0
    try:
        while shard[at]:
            contents, starts = [], []
            for extension in members:
                name, _, suffix = shard[at : at + 100].rstrip(b"\0").decode().partition(".")
                if suffix != extension:
                    raise ValueError(f"a member .{extension} was expected, .{suffix} is there")
                size = int(shard[at + 124 : at + 135], 8)
                at += tarfile.BLOCKSIZE
                starts.append(at)
                contents.append(shard[at : at + size])
                at += -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
            index = int(name)
            inside.remove(index)
            if layer:
                yield StoredView(index, 0, "", b"", contents[0])
                continue
            first, jpeg, targets = contents
            if manifest.format_version == 1:
                label, key, mixed = int(first), "", None
            else:
                facts = json.loads(first)
                (_MIXED_FACTS if manifest.view_policy.mixes else _FACTS)(facts, "")
                label, key = facts["label"], facts["key"]
                mixed = (
                    (facts["partner_label"], facts["share"]) if manifest.view_policy.mixes else None
                )
                if facts["index"] != index:
                    raise ValueError(f"index must be {index}: got {facts['index']}")
            for found in (label, mixed[0] if mixed else 0):
                if not 0 <= found < classes:
                    raise ValueError(f"label must be one of {classes:,} classes: got {found}")
            yield StoredView(index, label, key, jpeg, targets, mixed=mixed, start=starts[1])
        if skipped is not None and (lost := sorted(inside - set(skipped))):
            raise ValueError(f"it lacks sample {lost[0]}")
    except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
        raise InputError(
            f"a shard of block {block} has the hash in its receipt, but at byte {at:,} it does not "
            f"hold the block's samples ({one_line(error)}): delete its receipt and run the same "
            f"precompute/run.py command again"
        ) from error
