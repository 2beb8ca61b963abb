"""How many requests to an object store it takes to know what is in a cache."""

from collections import Counter
from typing import cast

from precompute.missing import missing
from shared.images.source import ImageSource
from shared.store.opening import open_cache
from tests.fault_proxy import FaultProxy
from tests.receipts.kept import keep_index
from tests.receipts.test_missing import Source
from tests.s3 import stored
from tests.small_cache import make_cache, make_keys, make_manifest

BLOCKS, VIEWS = 20, 3


def test_a_start_takes_a_handful_of_requests(s3: str, proxy: FaultProxy, server: int) -> None:
    """It took two a receipt before there was an index, and each was read two or three times."""
    manifest = make_manifest(2 * BLOCKS, 2, VIEWS, store="webdataset")
    make_cache(s3, manifest)  # type: ignore[arg-type]
    source = cast(ImageSource, Source(make_keys(2 * BLOCKS)))

    def requests(train: bool) -> Counter[str]:
        proxy.reset()
        cache = open_cache(s3, "train")
        if train:
            cache.require_views()
            assert len(cache.samples_of_blocks()) == BLOCKS
            assert cache.skipped() == [] and cache.num_bytes() > 0
            assert sum(cache.arithmetics().values()) == BLOCKS * VIEWS
        else:
            assert missing(cache, list(cache.units()), source) == []
        return Counter(_kind(path) for _, path in proxy.requests)

    opening = {"manifest.json": 3}
    lists = {"a listing of receipts": 1}
    # There is no index yet: a HEAD, and whether it is a folder.
    one_by_one = {"receipts": BLOCKS * VIEWS, "receipts.index": 1, "a listing of index": 1}
    assert requests(train=True) == {**opening, **lists, **one_by_one}
    sizes = {"a listing of shards": 1}
    assert requests(train=False) == {**opening, **lists, **sizes, **one_by_one}
    keep_index(open_cache(s3, "train"))
    with_index = {"receipts.index": 2}
    assert requests(train=True) == {**opening, **lists, **with_index}
    assert requests(train=False) == {**opening, **lists, **sizes, **with_index}
    assert len(stored(server, s3)) == 2 + 2 * BLOCKS * VIEWS


def _kind(path: str) -> str:
    if "list-type" in path:
        names = ("index", "receipts", "shards")
        return f"a listing of {next(name for name in names if name in path)}"
    parts = path.partition("?")[0].split("/")
    return "receipts" if "receipts" in parts else parts[-1]
