"""View shards of mixed views: both labels and their weight are in them, and are checked."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from shared.errors import InputError
from shared.formats import shard_samples, webdataset_format
from shared.loaders.shard_loader import ShardLoader
from shared.records.manifest import Manifest
from shared.store.opening import Cache
from shared.store.stored_views import shard
from tests.small_cache import CLASSES, make_block, make_manifest, open_empty, put

MIXED = tuple((row % CLASSES, row / 4) for row in range(4))


def manifest(augment: str | None) -> Manifest:
    return make_manifest(8, views=1, store="webdataset", augment=augment)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    found = open_empty(tmp_path, manifest("mixup=0.2"))
    for block in range(2):
        put(found, replace(make_block(found.manifest, 0, block), mixed=MIXED))
    return found


def test_the_loader_gives_both_labels(cache: Cache) -> None:
    loader = ShardLoader(cache, [], 3, 0, 0, False)
    found = {}
    for batch in loader.batches(0):
        assert batch.partner is not None and batch.share is not None
        assert (batch.partner.dtype, batch.share.dtype) == (torch.int64, torch.float32)
        rows = zip(batch.partner.tolist(), batch.share.tolist(), strict=True)
        found.update(zip(batch.index.tolist(), rows, strict=True))
    samples = [cache.manifest.samples_of(block).tolist() for block in range(2)]
    assert found == dict(zip([*samples[0], *samples[1]], [*MIXED, *MIXED], strict=True))


def test_shards_of_other_caches_do_not_name_them(tmp_path: Path) -> None:
    plain = open_empty(tmp_path, manifest("erasing=1"))
    put(plain, make_block(plain.manifest, 0, 0))
    assert {sample.mixed for sample in shard(plain, 0, 0)} == {None}
    data = webdataset_format.encode(plain.manifest, make_block(plain.manifest, 0, 0))
    assert b"share" not in next(iter(data.values()))


@pytest.mark.parametrize(
    ("mixed", "part"),
    [
        ((CLASSES, 0.5), f"label must be one of {CLASSES} classes: got {CLASSES}"),
        ((-1, 0.5), "partner_label must be a whole number, 0 to 1,000,000: got -1"),
        ((0, 1.5), "share must be a number from 0 to 1: got 1.5"),
        ((0, -0.5), "share must be a number from 0 to 1: got -0.5"),
        ((0, True), "share must be a number from 0 to 1: got True"),
    ],
)
def test_forged_labels_are_refused(cache: Cache, mixed: tuple[int, float], part: str) -> None:
    block = replace(make_block(cache.manifest, 0, 0), mixed=(mixed, *MIXED[1:]))
    (data,) = webdataset_format.encode(cache.manifest, block).values()
    with pytest.raises(InputError) as caught:
        list(shard_samples.samples(cache.manifest, 0, data))
    assert part in str(caught.value)


def test_facts_that_lack_a_weight_are_refused(cache: Cache) -> None:
    block = replace(make_block(cache.manifest, 0, 0), mixed=MIXED)
    (plain,) = webdataset_format.encode(manifest(None), block).values()
    assert json.loads(plain[512 : plain.index(b"}") + 1]).keys() == {"index", "key", "label"}
    with pytest.raises(InputError, match="partner_label is missing"):
        list(shard_samples.samples(cache.manifest, 0, plain))
    (data,) = webdataset_format.encode(cache.manifest, block).values()
    with pytest.raises(InputError, match="'partner_label' is not a field"):
        list(shard_samples.samples(manifest(None), 0, data))
