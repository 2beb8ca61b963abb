"""Checks before a cache is used: that it fits the source and has the targets that are needed."""

from collections.abc import Sequence

import numpy as np

from shared.errors import InputError, note
from shared.images.source import ImageSource
from shared.pixels.jpeg import decode_pixels, encode_pixels
from shared.records.block import sha256
from shared.records.receipt import receipt_path
from shared.store.opening import Cache
from shared.store.stored_views import named, replayed, stored_views, view_of
from shared.targets.kinds import OF_CLASSES, OF_THE_RUN

RESUMED = 64  # views that are compared, at most, before a run adds to a cache


def require_source(cache: Cache, source: ImageSource) -> None:
    """Raises InputError unless `source` lists the images that the cache was made from."""
    facts = cache.manifest.source
    if (facts.samples, facts.digest) != (len(source), source.digest):
        raise InputError(
            f"{source.spec} does not hold the images that {cache.where} was made from: it lists "
            f"{len(source):,} now (digest {source.digest[:12]}), the cache was made from "
            f"{facts.samples:,} of {facts.spec} (digest {facts.digest[:12]}); give the same "
            f"images, or another --cache"
        )


def require_targets(cache: Cache, needs: frozenset[str], user: str) -> None:
    """Raises InputError unless the cache has all kinds of targets in `needs`, for every view.

    `user` is what needs them, for the message.
    """
    manifest = cache.manifest
    encoding = manifest.encoding
    if missing := sorted(name for name in needs - OF_THE_RUN if not encoding.offers(name)):
        raise InputError(
            f"{user} needs {', '.join(missing)}, which {cache.where} does not keep: add it with "
            f"the same precompute/run.py command and --targets {','.join(missing)}, which leaves "
            f"what is there alone, or choose a recipe that does not need it"
        )
    layers = manifest.layers_for(needs)
    cache.require_views(layers)
    wanted = set(encoding.needed(needs))
    for layer in layers:
        for name, path in cache.format.array_paths(manifest, 0, 0, layer).items():
            if name in wanted and not cache.files.exists(path):
                raise InputError(
                    f"{user} needs {name}, which is missing from {cache.where} ({path} is not "
                    f"there): run precompute/run.py again, or choose a recipe that does not need it"
                )
    if "logits" in needs:
        cache.head()


def require_classes_of_images(cache: Cache, needs: frozenset[str], user: str) -> None:
    """Raises InputError if `needs` has logits, or what follows from them, and the teacher's classes
    are not those of the images. `user` is what needs them, for the message."""
    theirs, ours = cache.manifest.teacher.classes, len(cache.manifest.source.classes)
    if theirs != ours and needs & {"logits", "guided", "head", *OF_CLASSES}:
        raise InputError(
            f"{user} needs the teacher's logits, and the teacher of {cache.where} has {theirs:,} "
            f"classes while its images have {ours:,}: choose a recipe that does not need logits, "
            f"or make a cache with precompute/run.py --classes FILE, which says which are which"
        )


def require_pixels(cache: Cache, source: ImageSource | None) -> int:
    """Raises InputError unless the pixels of a few views have the checksums in the cache.

    The pixels come from the view shards or, in a cache without pixels, from the images of `source`,
    which may be None otherwise. Compares the samples whose checksums are in the receipts of the
    first and last block of the first and last view. Returns the number of views compared.
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
                        f"view {view} of {_name(cache, source, view, index)} does not "
                        f"have the pixels that the teacher saw ({receipt_path(view, block)} in "
                        f"{cache.where}): the image has changed, or this machine decodes or "
                        f"resizes differently (made with {manifest.versions}); use the same "
                        f"versions"
                    )
                compared += 1
    return compared


def _name(cache: Cache, source: ImageSource | None, view: int, index: int) -> str:
    return named(cache, source, view, index) if source else str(index)


def require_same_pixels(cache: Cache, source: ImageSource, done: Sequence[tuple[int, int]]) -> int:
    """Raises InputError unless the images of `source` still give the pixels in the receipts.

    Called before a run adds to a cache: files may have changed while their names and sizes stayed
    the same, which a listing does not show. `done` are the finished (view, block). Compares up to
    RESUMED views, spread over these blocks, and returns how many it compared.
    """
    manifest = cache.manifest
    wanted: list[tuple[int, int, int, str]] = []  # view, block, sample, checksum
    for place in np.unique(np.linspace(0, len(done) - 1, min(len(done), RESUMED)).astype(int)):
        view, block = done[place]
        pixels = cache.receipt(view, block).pixels
        wanted += [(view, block, index, checksum) for index, checksum in pixels.items()]
    wanted = wanted[:: -(-len(wanted) // RESUMED) or 1]
    for view, block, index, checksum in wanted:
        stored = cache.read_block(view, block, ["box", "flip"], alone=True)
        row = int(manifest.place(np.array([index]))[0]) - manifest.rows(block).start
        drawn = view_of(cache, stored, row)
        found = replayed(cache, source, view, index, drawn)
        if manifest.holds_pixels:
            found = decode_pixels(encode_pixels(found))
        if sha256(found.numpy().tobytes()) != checksum:
            raise InputError(
                f"{named(cache, source, view, index)} in {source.spec} has other pixels than when "
                f"{receipt_path(view, block)} in {cache.where} was made: restore the images, use "
                f"the same versions ({manifest.versions}), or give another --cache"
            )
    return len(wanted)


def note_arithmetic(cache: Cache) -> None:
    """Prints one line on stderr if blocks were computed with different arithmetic (block.py)."""
    found = cache.arithmetics()
    if len(found) > 1:
        ways = "; ".join(f"{count:,} blocks by {way}" for way, count in found.most_common(4))
        more = f"; and {len(found) - 4} more" if len(found) > 4 else ""
        note(
            f"the blocks of {cache.where} were made in {len(found)} different ways, so the last "
            f"bits of their numbers may differ: {ways}{more}"
        )
