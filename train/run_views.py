"""A run goes on with the views that it began with, however many its cache has by now.

Epoch e uses view e mod K, so that another K is another run. A cache may grow while a run lasts
(precompute/run.py with more --views): what has been added is ignored, complete or not.
"""

from pathlib import Path

from shared.cache.opening import Cache
from shared.distributed import World, from_first
from shared.errors import InputError
from shared.records.identity import cache_id
from train.run_files import RUN_FILE, read_run


def with_views_of_run(cache: Cache, folder: Path, world: World) -> Cache:
    """`cache` with as many views as the run in `folder` uses; all of them where there is no run.

    InputError where the cache has fewer.
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


def _recorded(folder: Path, named: str) -> int | None:
    """None where nothing was begun there, or something on another cache: RunFolder.open says so."""
    if not (folder / RUN_FILE).exists():
        return None
    identity = read_run(folder)["identity"]
    return identity.get("views") if identity.get("cache") == named else None
