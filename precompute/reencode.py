"""The main function of precompute/convert.py: re-encodes a cache in a smaller codec.

- `exact` to any codec, and `half` to `compact` (which has the same fp16 channels): the result is,
  byte for byte, the cache that precompute/run.py would have made.
- `half` or `compact` to `tiny`: the bytes differ from those made with the teacher. Besides tiny's
  own error, a mean has that of fp16, up to 2^-11 of itself (2^-25 below 2^-14). The manifest
  records this, so that such blocks are never mixed with blocks made by the teacher.
- Everything else is refused.

Both formats can be converted, and view shards keep their JPEGs. A cache cannot be converted to the
other format: in view shards the teacher saw JPEG pixels, in a zarr cache those of the source, so
its outputs differ and it must run again. A conversion resumes like precompute/run.py --check.

Codecs that derive logits store the teacher's head. A `compact` cache has it; otherwise it is read
from --weights, or the weights named in the manifest. --cache and --to are folders or URLs.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from shared.errors import InputError
from shared.files.objects import open_files
from shared.formats.shard_samples import StoredView
from shared.images.listing import Keys
from shared.records.block import Block
from shared.records.manifest import Manifest
from shared.store.live_teacher import choice_of
from shared.store.opening import (
    Cache,
    create_cache,
    has_split,
    head_digest,
    open_cache,
    read_manifest,
)
from shared.store.static_files import check_static, stored_keys, stored_labels
from shared.store.stored_views import shard
from shared.store.tails_file import CHANNELS, keep_tails
from shared.targets.codecs import CODECS, require_derivable
from shared.targets.targets import Head
from shared.targets.teacher import load_teacher

SAME_BITS = {"exact": ("half", "compact", "tiny"), "half": ("compact",)}
# Made from fp16 channels, whose error adds to the codec's own.
LOSSY = {"half": ("tiny",), "compact": ("tiny",)}


def convert(flags: argparse.Namespace) -> int:
    old = open_cache(flags.cache, flags.split)
    codec = CODECS[flags.codec]
    _require_elsewhere(old, flags.to)
    lossy = _require_convertible(old.manifest.codec, codec.name)
    _require_same_version(old, flags.to)
    require_derivable(codec.name, old.manifest.encoding.names, old.manifest.teacher.form)
    old.require_views(old.manifest.layers)
    labels, keys = stored_labels(old), stored_keys(old) or Keys.pack([])
    check_static(old, labels, keys)
    head = old.head()
    if replace(old.manifest, codec=codec.name).encoding.derives_logits and head is None:
        head = _teachers_head(old.manifest, flags.weights, flags.teacher)
    manifest = replace(
        old.manifest,
        codec=codec.name,
        codec_version=codec.version,
        converted_from="half" if lossy else None,
    )
    new = create_cache(flags.to, manifest, labels, keys, head)
    # The views and layers of the old cache: precompute/run.py may have added more to the new one.
    layers = old.manifest.layers
    todo = [
        (*unit, layer)
        for unit in old.units()
        for layer in layers
        if not new.is_done(*unit, layer=layer)
    ]
    for view, block, layer in tqdm(todo, "blocks", disable=None):
        converted = convert_block(old, new.manifest, view, block, labels, layer)
        new.write(converted, old.receipt(view, block, layer).keys)
    new.files.remove_stale()
    if new.is_complete():
        new.keep_index()
        if old.files.exists(CHANNELS):
            keep_tails(new)
    print(
        f"{new.where}: {len(todo)} blocks converted from {old.manifest.codec} to {codec.name}, "
        f"{old.num_bytes() / manifest.samples:,.0f} to {new.num_bytes() / manifest.samples:,.0f} "
        f"bytes a view"
    )
    if lossy:
        print(
            f"lost: a mean carries the error of {old.manifest.codec}, up to 2^-11 of itself, "
            f"besides that of {codec.name}; for the latter alone run precompute/run.py "
            f"--codec {codec.name}"
        )
    return 0


def convert_block(
    old: Cache,
    wanted: Manifest,
    view: int,
    block: int,
    labels: NDArray[np.int64],
    layer: str = "",
) -> Block:
    """A block of `old`, or a layer of it, in the codec of `wanted`; `labels` are (N,).

    Raises InputError if the block is damaged."""
    manifest = old.manifest
    samples, kinds = manifest.samples_of(block), manifest.kinds_of(layer)
    names = list(manifest.encoding.fields(kinds))
    arrays = old.read_block(view, block, [*names, "box", "flip", "pred"])
    fields = {name: torch.from_numpy(arrays[name]) for name in names}
    targets = manifest.encoding.decode(fields, old.head())
    receipt = old.receipt(view, block, layer)
    encoded = wanted.encoding.encode(targets, kinds)
    for values in encoded.values():
        values[np.isin(samples, list(receipt.skipped_samples))] = 0
    views: dict[int, StoredView] = {}
    if manifest.holds_pixels and not layer:
        views = {sample.index: sample for sample in shard(old, view, block)}
    rows = [views.get(index) for index in samples.tolist()] if views else []
    return Block(
        view=view,
        index=block,
        fields=encoded,
        box=arrays["box"],
        flip=arrays["flip"],
        pred=arrays["pred"],
        label=labels[samples],
        images=tuple(sample.jpeg if sample else b"" for sample in rows),
        keys=tuple(sample.key if sample else "" for sample in rows),
        pixels=receipt.pixels,
        skipped=receipt.skipped,
        arithmetic=receipt.arithmetic,
        layer=layer,
        mixed=tuple(sample.mixed if sample and sample.mixed else (0, 1.0) for sample in rows)
        if manifest.view_policy.mixes
        else (),
    )


def _require_elsewhere(old: Cache, to: str) -> None:
    roots = (old.files.root, open_files(to, old.manifest.split).root)
    one, other = (root.resolve() if isinstance(root, Path) else root for root in roots)
    if one == other:
        raise InputError(
            f"--cache and --to are both {to}, but a conversion makes another cache: give another "
            f"--to"
        )


def _require_convertible(old: str, new: str) -> bool:
    """Whether the conversion loses precision compared to running the teacher with codec `new`.

    Raises InputError if `old` cannot be converted to `new`."""
    if new in SAME_BITS.get(old, ()):
        return False
    if new in LOSSY.get(old, ()):
        return True
    pairs = {codec: SAME_BITS.get(codec, ()) + LOSSY.get(codec, ()) for codec in CODECS}
    allowed = ", ".join(f"{a} to {' or '.join(b)}" for a, b in pairs.items() if b)
    raise InputError(
        f"{old} cannot be converted to {new}, as a codec can only be made from one that holds more "
        f"({allowed}): run precompute/run.py --codec {new}"
    )


def _require_same_version(old: Cache, to: str) -> None:
    """Raises InputError if `to` has a cache of another format version (other samples per block)."""
    split = old.manifest.split
    if has_split(to, split):
        there = read_manifest(open_files(to, split), split)
        if there.format_version != old.manifest.format_version:
            raise InputError(
                f"{to} has version {there.format_version} of the format and {old.where} has "
                f"{old.manifest.format_version}, which a conversion keeps: give another --to"
            )


def _teachers_head(manifest: Manifest, weights: str | None, network: str | None) -> Head:
    """The cached teacher's head, read from `weights`. `network`: its name, if it has moved.

    Raises InputError if it is another teacher's."""
    facts = manifest.teacher
    weights = weights or facts.weights
    head = load_teacher(choice_of(manifest, weights, network), torch.device("cpu")).head
    assert head is not None, "only a linear head is kept"
    if (digest := head_digest(head)) != facts.head_sha256:
        raise InputError(
            f"{weights} does not hold the head of the cached teacher: its sha256 is {digest[:12]}, "
            f"the cache was made with {facts.head_sha256[:12]}; give the same file with --weights"
        )
    return head
