"""The pixels of cached views.

They are read from the view shards if the cache has them. Otherwise the views are replayed: the
stored box and flip are applied to the source's images.
"""

from collections.abc import Collection, Iterator

import numpy as np
from torch import Tensor

from shared.errors import BadImage, InputError
from shared.formats import shard_samples, webdataset_format
from shared.images.source import ImageSource
from shared.pixels.jpeg import decode_pixels
from shared.pixels.seen import Views
from shared.pixels.view import View, stored_view
from shared.store.receipt_checks import AGAIN
from shared.store.split import Arrays, Cache


def stored_views(
    cache: Cache, view: int, source: ImageSource | None, wanted: list[int]
) -> dict[int, Tensor]:
    """Sample index -> (3, S, S) uint8, in the order of `wanted`.

    `source` may be None only if the cache stores the pixels.
    """
    manifest = cache.manifest
    pixels = {}
    blocks = manifest.place(np.array(wanted, dtype=np.int64)) // manifest.block
    for block in np.unique(blocks).tolist():
        inside = [index for index, its in zip(wanted, blocks.tolist(), strict=True) if its == block]
        if manifest.holds_pixels:
            jpegs = images(cache, view, block)
            found = {index: pixels_of(cache, index, jpegs[index]) for index in inside}
        else:
            assert source is not None, "views of a zarr cache are replayed on the images"
            stored = cache.read_block(view, block, ["box", "flip"])
            start = manifest.rows(block).start
            found = {
                index: replayed(cache, source, view, index, view_of(cache, stored, index - start))
                for index in inside
            }
        pixels.update(found)
    return {index: pixels[index] for index in wanted}


def view_of(cache: Cache, stored: Arrays, row: int) -> View:
    box = stored["box"][row].tolist()
    return stored_view(cache.manifest.view_policy, box, bool(stored["flip"][row]))


def views_of(cache: Cache, number: int, source: ImageSource) -> Views:
    manifest = cache.manifest
    return Views(
        manifest.view_policy, manifest.size, manifest.seed, number, source.read, len(source)
    )


def replayed(cache: Cache, source: ImageSource, number: int, index: int, view: View) -> Tensor:
    """(3, S, S) uint8: view `number` of sample `index`, whose stored box is `view`.

    Raises InputError if the image no longer decodes."""
    try:
        return views_of(cache, number, source).replay(index, view, None).pixels
    except BadImage as error:
        raise now_bad(cache, source, index, error) from error


def named(cache: Cache, source: ImageSource, number: int, index: int) -> str:
    """The images whose pixels are in view `number` of sample `index`, by their keys."""
    mix = views_of(cache, number, source).mix_of(index)
    if mix is None:
        return source.keys[index]
    return f"{source.keys[index]} (or {source.keys[mix.partner]}, with which it is mixed)"


def now_bad(cache: Cache, source: ImageSource, index: int, error: BadImage) -> InputError:
    """The error for an image that decoded when the cache was made and no longer does."""
    return InputError(
        f"{source.keys[index]} in {source.spec} decoded when {cache.where} was made and does not "
        f"now ({error}): restore the file"
    )


def shard(
    cache: Cache, view: int, block: int, layers: Collection[str] = ()
) -> Iterator[shard_samples.StoredView]:
    """The samples of a block, in its order, with their targets in `layers`.

    Only for caches in the format webdataset.
    """
    path = webdataset_format.shard_path(view, block)
    receipt = cache.usable_receipt(view, block)
    cache.require_shapes([])
    data = cache.read_checked(path, receipt)
    skipped = receipt.skipped_samples
    samples = shard_samples.samples(cache.manifest, block, data, skipped)
    if not layers:
        return samples
    cache.require_shapes([field for name in layers for field in _fields_of(cache, name)])
    sides = {}
    for layer in layers:
        path = webdataset_format.shard_path(view, block, layer)
        data = cache.read_checked(path, cache.usable_receipt(view, block, layer))
        sides[layer] = shard_samples.layer_samples(cache.manifest, block, data, layer, skipped)
    return shard_samples.joined(samples, sides)


def _fields_of(cache: Cache, layer: str) -> list[str]:
    return list(cache.manifest.encoding.fields(cache.manifest.kinds_of(layer)))


def images(cache: Cache, view: int, block: int) -> dict[int, bytes]:
    """Sample index -> JPEG of its view. Only for caches in the format webdataset."""
    return {sample.index: sample.jpeg for sample in shard(cache, view, block)}


def pixels_of(cache: Cache, index: int, jpeg: bytes) -> Tensor:
    """Decodes a view of sample `index`: (3, S, S) uint8. Raises InputError if it is not one."""
    size = cache.manifest.size
    try:
        pixels = decode_pixels(jpeg)
    except BadImage as error:
        raise InputError(
            f"the JPEG of sample {index} in {cache.where} does not decode ({error}): is this "
            f"Pillow able to read JPEG?"
        ) from error
    if pixels.shape != (3, size, size):
        block = int(cache.manifest.place(np.array([index]))[0]) // cache.manifest.block
        raise InputError(
            f"sample {index} in {cache.where} has {pixels.shape[2]} x {pixels.shape[1]} pixels "
            f"instead of the manifest's {size} px: delete the receipts of block {block} and {AGAIN}"
        )
    return pixels
