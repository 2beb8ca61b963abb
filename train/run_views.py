"""Keeps the number of views of a run when its cache gets more.

Epoch e uses view e mod K, so a run with another K would be a different run. A cache may grow during
a run (precompute/run.py with more --views); the added views are ignored, complete or not.
"""

from shared.distributed import World, from_first
from shared.errors import InputError
from shared.files.location import Location
from shared.records.identity import cache_id
from shared.store.opening import Cache
from train.reading import has_file
from train.run_files import RUN_FILE, read_run


def with_views_of_run(cache: Cache, folder: Location, world: World) -> Cache:
    """`cache` with as many views as the run in `folder` uses; with all if there is no run yet.

    Raises InputError if the cache has fewer.
    """
    named, there = cache_id(cache.manifest), cache.manifest.views
    views = from_first(lambda: _recorded(folder, named), world)
    if views is None or views == there:
        return cache
    if views > there:
        raise InputError(
            f"{folder} was begun with {views} views and {cache.where} has {there}: make the others "
            f"with precompute/run.py --views {views}, or give another --out"
        )
    return Cache(cache.files, cache.manifest.with_views(views))


def _recorded(folder: Location, named: str) -> int | None:
    """The views of the run in `folder`; None if there is no run, or one with another cache.

    RunFolder.open reports the latter."""
    if not has_file(folder, RUN_FILE):
        return None
    identity = read_run(folder)["identity"]
    return identity.get("views") if identity.get("cache") == named else None
