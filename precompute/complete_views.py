"""Which views of a cache can be read while others are still being made."""

from collections.abc import Sequence

from shared.errors import InputError
from shared.store.opening import Cache


def complete_views(cache: Cache) -> list[int]:
    """The views that can be read. Raises InputError if no view, or not the first one, is complete.

    View 0 is needed, because the images that any other view leaves out are compared with its.
    """
    manifest = cache.manifest
    layers = manifest.layers_for(kinds_shown(cache))
    finished = [
        sum(
            all(cache.is_listed(view, block, layer) for layer in layers)
            for block in range(manifest.blocks)
        )
        for view in range(manifest.views)
    ]
    if finished[0] < manifest.blocks:
        raise InputError(
            f"no view of {cache.where} can be shown: {finished[0]:,} of the {manifest.blocks:,} "
            f"blocks of view 0 are finished; run the same precompute/run.py command again, it "
            f"makes the rest"
        )
    return [view for view, blocks in enumerate(finished) if blocks == manifest.blocks]


def kinds_shown(cache: Cache) -> list[str]:
    return [kind for kind in ("logits", "channels") if cache.manifest.encoding.offers(kind)]


def ranges(views: Sequence[int]) -> str:
    """[0, 1, 2, 5] -> "0 to 2, 5"."""
    parts: list[list[int]] = []
    for view in views:
        if parts and view == parts[-1][-1] + 1:
            parts[-1].append(view)
        else:
            parts.append([view])
    return ", ".join(f"{p[0]} to {p[-1]}" if len(p) > 1 else f"{p[0]}" for p in parts)
