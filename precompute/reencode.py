"""What precompute/convert.py does: the same cache in a smaller codec, without the teacher.

From `exact` to any codec: byte for byte the cache that precompute/run.py would have made. From
`half` to `compact` too: the same fp16 channels. Everything else would add one codec's error to
another's and is refused. Both formats; view shards keep their JPEGs. There is no way from one
format to the other: in view shards the teacher saw JPEG pixels, in a zarr cache the source's, so
its answers differ and the teacher must run again. Resumes like precompute/run.py.

Codecs that derive logits keep the teacher's head, which is in its weights: those that the manifest
names, or --weights where they lie elsewhere now. --cache and --to are folders or URLs.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from shared.codecs import CODECS
from shared.errors import InputError
from shared.models import StagedResNet, load_weights
from shared.store.block import Block
from shared.store.cache import Cache, create_cache, head_digest, open_cache
from shared.store.manifest import Manifest
from shared.store.object_files import open_files
from shared.targets import Head

SAME_BITS = {"exact": ("half", "compact", "tiny"), "half": ("compact",)}


def convert(flags: argparse.Namespace) -> int:
    old = open_cache(flags.cache, flags.split)
    codec = CODECS[flags.codec]
    _require_elsewhere(old, flags.to)
    _require_same_bits(old.manifest.codec, codec.name)
    old.require_views()
    labels = old.labels()
    old.check_static(labels)
    head = _teachers_head(old.manifest, flags.weights) if codec.derives_logits else None
    manifest = replace(old.manifest, codec=codec.name, codec_version=codec.version)
    new = create_cache(flags.to, manifest, labels, head)
    # The old one's: the new one may hold more views, which precompute/run.py made.
    todo = [unit for unit in old.units() if not new.is_done(*unit)]
    for view, block in tqdm(todo, "blocks", disable=None):
        converted = convert_block(old, new.manifest, view, block, labels)
        new.write(converted, old.receipt(view, block).keys)
    new.files.remove_stale()
    print(
        f"{new.where}: {len(todo)} blocks converted from {old.manifest.codec} to {codec.name}, "
        f"{old.num_bytes() / manifest.samples:,.0f} to {new.num_bytes() / manifest.samples:,.0f} "
        f"bytes a view"
    )
    return 0


def convert_block(
    old: Cache, wanted: Manifest, view: int, block: int, labels: NDArray[np.int64]
) -> Block:
    """A block of `old` in the codec of `wanted`; (N,) labels. InputError where it is damaged."""
    manifest = old.manifest
    facts, rows = manifest.teacher, manifest.rows(block)
    names = list(CODECS[manifest.codec].fields(facts.classes, facts.channels))
    arrays = old.read_block(view, block, [*names, "box", "flip", "pred"])
    fields = {name: torch.from_numpy(arrays[name]) for name in names}
    targets = CODECS[manifest.codec].decode(fields, facts.channels, old.head())
    receipt = old.receipt(view, block)
    encoded = CODECS[wanted.codec].encode(targets)
    for values in encoded.values():
        values[[index - rows.start for index, _, _ in receipt.skipped]] = 0
    images = old.images(view, block) if manifest.format == "webdataset" else {}
    return Block(
        view=view,
        index=block,
        fields=encoded,
        box=arrays["box"],
        flip=arrays["flip"],
        pred=arrays["pred"],
        label=labels[rows.start : rows.stop],
        images=tuple(images.get(index, b"") for index in rows) if images else (),
        pixels=receipt.pixels,
        skipped=receipt.skipped,
    )


def _require_elsewhere(old: Cache, to: str) -> None:
    roots = (old.files.root, open_files(to, old.manifest.split).root)
    one, other = (root.resolve() if isinstance(root, Path) else root for root in roots)
    if one == other:
        raise InputError(
            f"a conversion makes another cache: --cache and --to are both {to}; give another --to"
        )


def _require_same_bits(old: str, new: str) -> None:
    """InputError unless the codec `new` gets from `old` what it would have got from the teacher."""
    if new not in SAME_BITS.get(old, ()):
        allowed = ", ".join(f"{a} to {' or '.join(b)}" for a, b in SAME_BITS.items())
        raise InputError(
            f"a conversion must give what the teacher would have: {allowed}; got {old} to {new}; "
            f"run precompute/run.py --codec {new}"
        )


def _teachers_head(manifest: Manifest, weights: str | None) -> Head:
    """InputError where `weights`, or what lies there now, are not those of the cached teacher."""
    facts = manifest.teacher
    weights = weights or facts.weights
    model = StagedResNet(facts.architecture, facts.classes, facts.stem)
    load_weights(model, weights)
    head = Head(model.fc.weight.detach(), model.fc.bias.detach())
    if (digest := head_digest(head)) != facts.head_sha256:
        raise InputError(
            f"the head must be that of the cached teacher: the cache was made with one of sha256 "
            f"{facts.head_sha256[:12]}, {weights} has {digest[:12]}; give the same file with "
            f"--weights"
        )
    return head
