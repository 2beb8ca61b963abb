"""The same cache in a smaller codec, without the teacher.

    python precompute/convert.py --cache data/teacher_cache --to data/tiny_cache --codec tiny

From `exact` to any codec: byte for byte the cache that precompute/run.py would have made. From
`half` to `compact` too: the same fp16 channels. Everything else would add one codec's error to
another's and is refused. Both formats; view shards keep their JPEGs. There is no way from one
format to the other: in view shards the teacher saw JPEG pixels, in a zarr cache the source's, so
its answers differ and the teacher must run again. Resumes like precompute/run.py.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch
from tqdm import tqdm

from shared.codecs import CODECS
from shared.errors import InputError, run_command
from shared.models import StagedResNet, load_weights
from shared.store.block import Block
from shared.store.cache import Cache, create_cache, open_cache
from shared.targets import Head

SAME_BITS = {"exact": ("half", "compact", "tiny"), "half": ("compact",)}


def main() -> int:
    parser = argparse.ArgumentParser(description="Re-encodes a cache without the teacher.")
    add = parser.add_argument
    add("--cache", type=Path, default=Path("data/teacher_cache"), help="the cache to read")
    add("--to", type=Path, required=True, metavar="DIR", help="the cache to make")
    add("--codec", choices=CODECS, required=True)
    add("--split", default="train")
    add("--weights", metavar="NAME|FILE", help="for the head, where the codec derives logits")
    flags = parser.parse_args()
    old = open_cache(flags.cache, flags.split)
    old.require_views()
    codec = CODECS[flags.codec]
    if codec.name not in SAME_BITS.get(old.manifest.codec, ()):
        allowed = ", ".join(f"{a} to {' or '.join(b)}" for a, b in SAME_BITS.items())
        raise InputError(
            f"a conversion must give what the teacher would have: {allowed}; got "
            f"{old.manifest.codec} to {codec.name}; run precompute/run.py --codec {codec.name}"
        )
    manifest = replace(old.manifest, codec=codec.name, codec_version=codec.version)
    new = create_cache(flags.to, manifest, old.labels(), _head(old, flags.weights))
    todo = [unit for unit in new.units() if not new.is_done(*unit)]
    for view, block in tqdm(todo, "blocks", disable=None):
        new.write(convert_block(old, new, view, block), old.receipt(view, block).keys)
    new.files.remove_stale()
    print(
        f"{new.where}: {len(todo)} blocks converted from {old.manifest.codec} to {codec.name}, "
        f"{old.num_bytes() / manifest.samples:,.0f} to {new.num_bytes() / manifest.samples:,.0f} "
        f"bytes a view"
    )
    return 0


def convert_block(old: Cache, new: Cache, view: int, block: int) -> Block:
    manifest = old.manifest
    facts, rows = manifest.teacher, manifest.rows(block)
    names = list(CODECS[manifest.codec].fields(facts.classes, facts.channels))
    arrays = old.read_block(view, block, [*names, "box", "flip", "pred"])
    fields = {name: torch.from_numpy(arrays[name]) for name in names}
    targets = CODECS[manifest.codec].decode(fields, facts.channels, old.head())
    receipt = old.receipt(view, block)
    encoded = CODECS[new.manifest.codec].encode(targets)
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
        label=old.labels()[rows.start : rows.stop],
        images=tuple(images.get(index, b"") for index in rows) if images else (),
        pixels=receipt.pixels,
        skipped=receipt.skipped,
    )


def _head(old: Cache, weights: str | None) -> Head:
    facts = old.manifest.teacher
    model = StagedResNet(facts.architecture, facts.classes, facts.stem)
    load_weights(model, weights or facts.weights)
    return Head(model.fc.weight.detach(), model.fc.bias.detach())


if __name__ == "__main__":
    run_command(main)
