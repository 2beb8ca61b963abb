"""The tails of a cache: measured by its first view, kept in a file beside it, and read back."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from shared.errors import InputError
from shared.files.sealed import seal
from shared.records.identity import cache_id
from shared.store import tails_file
from shared.store.opening import Cache
from shared.store.tails_file import CHANNELS, encode, keep_tails, measure, read_tails, require_tails
from shared.targets.tails import tails_of
from tests.helpers import snapshot
from tests.small_cache import make_block, make_cache, make_manifest, open_empty, put


def channels_of(cache: Cache, samples: list[int]) -> tuple[Tensor, ...]:
    arrays = cache.read_view(0, ["channels"])
    rows = torch.from_numpy(arrays["channels"][samples]).float()
    return torch.split(rows, list(cache.manifest.teacher.channels), dim=1)


@pytest.mark.parametrize("store", ["zarr", "webdataset"])
@pytest.mark.parametrize("codec", ["exact", "half", "compact"])
def test_a_cache_is_measured_by_its_first_view(tmp_path: Path, store: str, codec: str) -> None:
    cache = make_cache(tmp_path, make_manifest(samples=40, block=8, codec=codec, store=store))
    assert measure(cache) == tails_of(channels_of(cache, list(range(40))))


@pytest.mark.parametrize("most", [10, 17])
def test_of_a_large_cache_rows_from_all_over_it(
    tmp_path: Path, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source may be sorted by class."""
    monkeypatch.setattr(tails_file, "SAMPLES", most)
    cache = make_cache(tmp_path, make_manifest(samples=40, block=8, codec="exact"))
    step = -(-40 // most)
    assert measure(cache) == tails_of(channels_of(cache, list(range(0, 40, step))))


def test_of_large_view_shards_some_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tails_file, "SAMPLES", 16)
    manifest = make_manifest(samples=40, block=8, codec="exact", store="webdataset")
    cache = make_cache(tmp_path, manifest)
    read = []
    whole = Cache.read_block

    def reading(self: Cache, view: int, block: int, *more: Any) -> Any:
        read.append((view, block))
        return whole(self, view, block, *more)

    monkeypatch.setattr(Cache, "read_block", reading)
    assert measure(cache).samples == 16
    assert len(read) == 2 and {view for view, _ in read} == {0}


def test_images_that_were_left_out_are_not_counted(tmp_path: Path) -> None:
    manifest = make_manifest(samples=8, block=8, views=1, codec="exact")
    cache = open_empty(tmp_path, manifest)
    block = make_block(manifest, 0, 0)
    block.fields["channels"][3] = 0
    block.pred[3] = -1
    put(cache, replace(block, skipped=((3, "cat/3.jpg", "cut off"),), pixels={}))
    rest = [0, 1, 2, 4, 5, 6, 7]
    assert measure(cache) == tails_of(channels_of(cache, rest))


def test_the_file_is_written_once_and_read_back(tmp_path: Path) -> None:
    cache = make_cache(tmp_path, make_manifest())
    assert read_tails(cache) is None and require_tails(cache) == measure(cache)
    kept = keep_tails(cache)
    before = snapshot(tmp_path)
    assert read_tails(cache) == keep_tails(cache) == kept == measure(cache)
    assert snapshot(tmp_path) == before
    facts = json.loads((tmp_path / "train" / CHANNELS).read_bytes())
    assert facts["cache"] == cache_id(cache.manifest)
    widths = [len(stage["spread"]) for stage in facts["stages"]]
    assert widths == list(cache.manifest.teacher.channels)


def damaged(cache: Cache) -> dict[str, bytes]:
    good = encode(cache.manifest, measure(cache))
    facts = {k: v for k, v in json.loads(good).items() if k != "sha256_of_the_rest"}
    stages = facts["stages"]
    return {
        "cut off": good[:100],
        "changed": good.replace(b"0.", b"1.", 1),
        "no json": b"\x00\x01",
        "of another cache": seal({**facts, "cache": "0" * 12}),
        "newer": seal({**facts, "version": 2}),
        "too few stages": seal({**facts, "stages": stages[:2]}),
        "a channel of no spread": seal(
            {**facts, "stages": [{**stages[0], "spread": [0.0] * 4}, *stages[1:]]}
        ),
    }


@pytest.mark.parametrize(
    "kind",
    ["cut off", "changed", "no json", "of another cache", "newer", "too few stages",
     "a channel of no spread"],
)  # fmt: skip
def test_a_damaged_file_is_refused_and_written_again(tmp_path: Path, kind: str) -> None:
    cache = make_cache(tmp_path, make_manifest())
    cache.files.write(CHANNELS, damaged(cache)[kind])
    for read in (read_tails, require_tails):
        with pytest.raises(InputError, match=r"channels\.json, .* cannot be used \(.*run the same"):
            read(cache)
    assert keep_tails(cache) == measure(cache) == read_tails(cache)
