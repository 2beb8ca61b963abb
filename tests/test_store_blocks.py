"""Blocks of a cache: what was written comes back, and what is lacking is named."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.images.source import open_source
from shared.records.block import Block
from shared.records.keys import key_digest
from shared.records.manifest import Manifest
from shared.records.receipt import receipt_path
from shared.store.opening import open_cache
from shared.store.static_files import stored_labels
from shared.targets.codecs import CODECS
from tests.small_cache import make_block, make_cache, make_labels, make_manifest, open_empty, put
from tests.stores import all_names, every_format, refused


def in_source_order(manifest: Manifest) -> NDArray[np.int64]:
    """The row of each sample where blocks stand one after the other."""
    return manifest.place(np.arange(manifest.samples))


@every_format
@pytest.mark.parametrize(
    ("codec", "samples", "block"),
    [
        *((codec, 10, 4) for codec in CODECS),
        *(("half", *sizes) for sizes in [(5, 1), (3, 7), (8, 4), (1, 1)]),
    ],
)
def test_what_was_written_comes_back(
    tmp_path: Path, codec: str, store: str, samples: int, block: int
) -> None:
    manifest = make_manifest(samples, block, codec=codec, store=store)
    make_cache(tmp_path, manifest)
    cache = open_cache(tmp_path, "train")
    assert cache.manifest == manifest
    names = all_names(manifest)
    for view in range(manifest.views):
        blocks = [make_block(manifest, view, index) for index in range(manifest.blocks)]
        whole = cache.read_view(view, names)
        assert set(whole) == set(names)
        for name in names:
            parts = [b.arrays()[name] for b in blocks]
            expected = np.concatenate(parts)[in_source_order(manifest)]
            assert len(expected) == samples
            assert whole[name].dtype == expected.dtype, name
            assert whole[name].tobytes() == expected.tobytes(), name
            for index, part in enumerate(parts):
                read = cache.read_block(view, index, [name])
                assert list(read) == [name]
                assert read[name].tobytes() == part.tobytes(), name
                assert read[name].shape == part.shape, name
    assert not np.array_equal(
        cache.read_view(0, ["channels"])["channels"], cache.read_view(1, ["channels"])["channels"]
    )


def test_an_incomplete_cache_names_what_it_lacks(tmp_path: Path) -> None:
    manifest = make_manifest()
    cache = open_empty(tmp_path, manifest)
    for unit in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 2)]:
        put(cache, make_block(manifest, *unit))
    assert [unit for unit in cache.units() if not cache.is_done(*unit)] == [(1, 1)]
    for action in (cache.require_views, lambda: cache.read_view(0, ["pred"])):
        assert (
            f"the cache {tmp_path}/train is incomplete: block 1 of view 1 is missing; run the same "
            "precompute/run.py command again" in refused(action)
        )
    cache.read_block(1, 2, ["pred"])  # what is there can be read
    put(cache, make_block(manifest, 1, 1))
    cache.require_views()


def test_is_done_asks_for_files_and_receipt(tmp_path: Path) -> None:
    manifest = make_manifest()
    cache = open_empty(tmp_path, manifest)
    assert not cache.is_done(0, 0)
    put(cache, make_block(manifest, 0, 0))
    assert cache.is_done(0, 0)
    assert not cache.is_done(1, 0)
    (tmp_path / "train" / receipt_path(0, 0)).unlink()  # the files alone prove nothing
    assert not cache.is_done(0, 0)


def test_a_block_of_other_samples_is_refused(tmp_path: Path) -> None:
    images = tmp_path / "images" / "train" / "cat"
    images.mkdir(parents=True)
    for number in range(10):
        (images / f"{number}.jpg").write_bytes(b"x")
    manifest = make_manifest()
    cache = open_empty(tmp_path, manifest)
    source = open_source(str(tmp_path / "images"), "train")
    for unit in cache.units():
        keys = key_digest(source.keys, manifest.samples_of(unit[1]))
        put(cache, make_block(manifest, *unit), keys)
    for unit in cache.units():
        cache.check_block(*unit, source)
    (images / "9.jpg").rename(images / "new.jpg")  # the last sample stays the last
    renamed = open_source(str(tmp_path / "images"), "train")
    cache.check_block(1, 1, renamed)
    text = refused(lambda: cache.check_block(1, 2, renamed))
    assert "block 2 of view 1" in text and receipt_path(1, 2) in text
    assert cache.is_done(1, 2) and not cache.is_done(1, 2, renamed)


def with_skipped(manifest: Manifest, view: int, index: int, row: int) -> Block:
    """As precompute writes a block with an image that does not decode."""
    block = make_block(manifest, view, index)
    for values in (*block.fields.values(), block.box, block.flip):
        values[row] = 0
    block.pred[row] = -1
    sample = int(manifest.samples_of(index)[row])
    return replace(block, skipped=((sample, f"dog/{sample:05d}.jpg", "zero bytes"),))


@every_format
def test_skipped_images_and_sizes(tmp_path: Path, store: str) -> None:
    manifest = make_manifest(store=store, views=1)
    cache = make_cache(tmp_path, manifest)
    assert cache.skipped() == []
    assert cache.samples_of_blocks().tolist() == [4, 4, 2]
    assert stored_labels(cache).tolist() == make_labels().tolist()
    block = with_skipped(manifest, 0, 1, row=2)
    put(cache, block)
    sample = int(manifest.samples_of(1)[2])
    assert cache.skipped() == [(sample, f"dog/{sample:05d}.jpg", "zero bytes")]
    assert cache.samples_of_blocks().tolist() == [4, 3, 2]
    labels = make_labels().tolist()
    labels[sample] = labels[sample] if store == "zarr" else -1
    assert stored_labels(cache).tolist() == labels
    for name, values in cache.read_block(0, 1, all_names(manifest)).items():
        assert values.tobytes() == block.arrays()[name].tobytes(), name
    paths = {path for b in range(3) for path in cache.receipt(0, b).files}
    sizes = [(tmp_path / "train" / path).stat().st_size for path in paths]
    assert cache.num_bytes() == sum(sizes)
