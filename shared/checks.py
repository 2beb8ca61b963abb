"""What must hold before a cache is used: same listing, same pixels, the targets that are needed."""

from torch import Tensor

from shared.codecs import CODECS
from shared.decode import BadImage
from shared.errors import InputError
from shared.images import ImageSource
from shared.jpeg import decode_pixels
from shared.store.block import receipt_path, sha256
from shared.store.cache import Cache
from shared.view import View, apply


def require_source(cache: Cache, source: ImageSource) -> None:
    """InputError unless `source` is the listing that the cache was made from."""
    facts = cache.manifest.source
    if (facts.samples, facts.digest) != (len(source), source.digest):
        raise InputError(
            f"a cache is used with the images it was made from: {cache.where} was made from "
            f"{facts.samples:,} images of {facts.spec} (digest {facts.digest[:12]}), "
            f"{source.spec} now lists {len(source):,} (digest {source.digest[:12]}); give the "
            f"same images, or another --cache"
        )


def require_targets(cache: Cache, needs: frozenset[str], recipe: str) -> None:
    """InputError unless the cache still holds every target that the recipe needs."""
    codec = CODECS[cache.manifest.codec]
    paths = cache.format.array_paths(cache.manifest, 0, 0)
    missing = [name for name in codec.needed(needs) if not cache.files.exists(paths[name])]
    if missing:
        raise InputError(
            f"recipe {recipe} needs {', '.join(sorted(needs & {'logits', 'channels'}))}: "
            f"{cache.where} has lost {', '.join(missing)} ({paths[missing[0]]} is not there); run "
            f"precompute/run.py again, or choose a recipe that does without"
        )
    if "logits" in needs:
        cache.head()


def require_pixels(cache: Cache, source: ImageSource | None) -> int:
    """Makes a few of the cache's views again; InputError unless their pixels have its checksums.

    Returns the number of views compared: those that the receipts of the first and the last block
    of the first and the last view carry. Without a source: of a cache that holds the views itself.
    """
    manifest = cache.manifest
    compared = 0
    for view in sorted({0, manifest.views - 1}):
        for block in sorted({0, manifest.blocks - 1}):
            receipt = cache.receipt(view, block)
            views = stored_views(cache, view, source, list(receipt.pixels))
            for index, pixels in views.items():
                if sha256(pixels.numpy().tobytes()) != receipt.pixels[index]:
                    raise InputError(
                        f"the student must see the pixels that the teacher saw: view {view} of "
                        f"{source.keys[index] if source else index} differs from "
                        f"{receipt_path(view, block)} in {cache.where}; the image changed, or "
                        f"this machine decodes or resizes otherwise (made with "
                        f"{manifest.versions}): use the same versions"
                    )
                compared += 1
    return compared


def stored_views(
    cache: Cache, view: int, source: ImageSource | None, wanted: list[int]
) -> dict[int, Tensor]:
    """Sample index -> (3, S, S) uint8, in the order of `wanted`.

    From the shard in a cache that holds the views itself, else replayed on the source's images.
    """
    manifest = cache.manifest
    pixels = {}
    for block in sorted({index // manifest.block for index in wanted}):
        rows = manifest.rows(block)
        if manifest.format == "webdataset":
            images = cache.images(view, block)
            found = {index: decode_pixels(images[index]) for index in wanted if index in rows}
        else:
            assert source is not None, "views of a zarr cache are replayed on the images"
            stored = cache.read_block(view, block, ["box", "flip"])
            found = {}
            for index in (index for index in wanted if index in rows):
                row = index - rows.start
                top, left, height, width = (int(value) for value in stored["box"][row])
                drawn = View(top, left, height, width, bool(stored["flip"][row]))
                try:
                    found[index] = apply(drawn, source.read(index), manifest.size)
                except BadImage as error:
                    raise InputError(
                        f"every image must decode: {source.keys[index]} in {source.spec} did when "
                        f"{cache.where} was made and does not now ({error}); restore the file"
                    ) from error
        pixels.update(found)
    return {index: pixels[index] for index in wanted}
