"""What must hold before a cache is used: same listing, same pixels, the targets that are needed."""

from shared.errors import InputError
from shared.images import ImageSource
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
    there = {path.split("/")[1] for path in cache.receipt(0, 0).files if cache.files.exists(path)}
    for name in sorted(needs & {"logits", "channels"} - there):
        raise InputError(
            f"recipe {recipe} needs {name}: {cache.where} holds {', '.join(sorted(there))}; "
            f"run precompute/run.py again, or choose a recipe that does without"
        )


def require_pixels(cache: Cache, source: ImageSource) -> int:
    """Makes a few of the cache's views again; InputError unless their pixels have its checksums.

    Returns the number of views compared: those that the receipts of the first and the last block
    of the first and the last view carry.
    """
    manifest = cache.manifest
    compared = 0
    for view in sorted({0, manifest.views - 1}):
        for block in sorted({0, manifest.blocks - 1}):
            receipt = cache.receipt(view, block)
            stored = cache.read_block(view, block, ["box", "flip"])
            for index, expected in receipt.pixels.items():
                row = index - receipt.start
                top, left, height, width = (int(value) for value in stored["box"][row])
                drawn = View(top, left, height, width, bool(stored["flip"][row]))
                pixels = apply(drawn, source.read(index), manifest.size)
                if sha256(pixels.numpy().tobytes()) != expected:
                    raise InputError(
                        f"the student must see the pixels that the teacher saw: view {view} of "
                        f"{source.keys[index]} differs from {receipt_path(view, block)} in "
                        f"{cache.where}; the image changed, or this machine decodes or resizes "
                        f"otherwise (made with {manifest.versions}): use the same versions"
                    )
                compared += 1
    return compared
