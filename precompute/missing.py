"""Finds what a cache lacks: which layers of which blocks must be made.

A run compares what needs no reading of blocks: every receipt is there and fits, every file has the
size in it, the samples have the same keys, and all views leave out the same images. What a disk has
changed within a file of the same size only its hash tells: with --check every file is read, which
takes minutes per 100 GB. precompute/verify.py does that too, and so does every reader for what it
reads.
"""

from collections.abc import Sequence

from tqdm import tqdm

from shared.errors import InputError
from shared.images.source import ImageSource
from shared.records.block import Skipped, Work
from shared.store.opening import Cache

Unit = tuple[int, int]  # (view, block)


def missing(
    cache: Cache, units: Sequence[Unit], source: ImageSource, hashed: Sequence[Unit] = ()
) -> list[Work]:
    """The layers of `units` that are missing or damaged. `hashed`: those among them whose files are
    read and compared with their hashes."""
    layers = cache.manifest.layers
    cache.know(_compared(cache, units))
    intact = _intact(cache, units, source)
    found = {
        (view, block): tuple(name for name in layers if (view, block, name) not in intact)
        for view, block in units
    }
    for view, block in tqdm(hashed, "hashing", leave=False, disable=None):
        found[view, block] = cache.missing_layers(view, block, source)
    return [Work(*unit, wanted) for unit, wanted in found.items() if wanted]


def _compared(cache: Cache, units: Sequence[Unit]) -> list[Unit]:
    """`units`, and those that must leave out the same images: see Cache.check_block."""
    views, blocks = range(cache.manifest.views), {block for _, block in units}
    first = {block for view, block in units if view == 0}
    others = [(view, block) for block in first for view in views]
    return sorted({*units, *others, *((0, block) for block in blocks)})


def _intact(cache: Cache, units: Sequence[Unit], source: ImageSource) -> set[tuple[int, int, str]]:
    """The (view, block, layer) of `units` that are there, as far as receipts and sizes tell."""
    mine = set(units)
    skips: dict[tuple[int, int, str], tuple[Skipped, ...]] = {}
    files: dict[tuple[int, int, str], dict[str, int]] = {}
    for view, block in tqdm(_compared(cache, units), "receipts", leave=False, disable=None):
        own = (view, block) in mine
        for layer in cache.manifest.layers if own else [""]:
            if not cache.is_listed(view, block, layer):
                continue
            try:
                receipt = cache.receipt(view, block, layer)
            except InputError:
                continue
            unit = view, block, layer
            skips[unit] = receipt.skipped
            if own and receipt.keys == cache.keys_of(source, block):
                files[unit] = {path: size for path, (size, _) in receipt.files.items()}
    sizes = cache.file_sizes([path for found in files.values() for path in found])
    views = range(cache.manifest.views)

    def agree(view: int, block: int, layer: str) -> bool:
        own = skips[view, block, layer]
        if layer:
            others = [(view, block, "")]
        else:
            others = [(other, block, "") for other in (views if view == 0 else [0])]
        return all(_same(own, skips.get(other, own)) for other in others)

    return {
        unit
        for unit, expected in files.items()
        if all(sizes.get(path) == size for path, size in expected.items()) and agree(*unit)
    }


def _same(mine: tuple[Skipped, ...], theirs: tuple[Skipped, ...]) -> bool:
    """Whether the same images are left out, for whatever reason."""
    return mine == theirs or {item[0] for item in mine} == {item[0] for item in theirs}
