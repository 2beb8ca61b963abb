"""How receipts.index is written: whole or not at all, and again where it cannot be used."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shared.errors import InputError
from shared.files.local import LocalFiles
from shared.records.identity import cache_id
from shared.records.receipt import receipt_name, receipt_path
from shared.store.opening import open_cache
from shared.store.receipt_index import INDEX, decode_index
from tests.receipts.kept import indexed_cache, keep_index, know_all, make_old
from tests.small_cache import make_cache, make_manifest

UNITS = [(view, block) for view in range(2) for block in range(3)]


@pytest.mark.parametrize("content", [b"", b"receipts.index 2\n", "foreign", "folder", "truncated"])
def test_an_index_that_cannot_be_used_is_written_again(
    tmp_path: Path, content: bytes | str
) -> None:
    index = indexed_cache(tmp_path / "mine")
    whole = index.read_bytes()
    if content == "foreign":
        index.write_bytes(indexed_cache(tmp_path / "other", seed=8).read_bytes())
    elif content == "truncated":
        index.write_bytes(whole[:-1])
    elif content == "folder":
        index.unlink()
        index.mkdir()
    else:
        assert isinstance(content, bytes)
        index.write_bytes(content)
    cache = know_all(tmp_path / "mine")
    assert [cache.receipt(*unit).view for unit in UNITS] == [0] * 3 + [1] * 3
    keep_index(cache)
    assert content == "folder" or index.read_bytes() == whole


def test_young_receipts_are_left_out(tmp_path: Path) -> None:
    make_cache(tmp_path, make_manifest())
    for path in (tmp_path / "train" / "receipts").iterdir():
        os.utime(path, (2**33, 2**33))  # in the future, so that a slow test does not make them old
    keep_index(open_cache(tmp_path, "train"))
    index = tmp_path / "train" / INDEX
    found = decode_index(cache_id(make_manifest()), index.read_bytes())
    assert found == {}
    make_old(tmp_path)
    keep_index(open_cache(tmp_path, "train"))
    found = decode_index(cache_id(make_manifest()), index.read_bytes())
    assert sorted(found) == [receipt_name(*unit) for unit in UNITS]


def test_where_nothing_can_be_written_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_cache(tmp_path, make_manifest())
    make_old(tmp_path)

    def refuse(*_: object) -> None:
        raise InputError("no right")

    monkeypatch.setattr(LocalFiles, "write", refuse)
    keep_index(open_cache(tmp_path, "train"))
    assert not (tmp_path / "train" / INDEX).exists()


def test_writers_at_the_same_time_leave_a_whole_index(tmp_path: Path) -> None:
    """Of what each of them saw: a reader finds one of the two, and never a part."""
    index = indexed_cache(tmp_path)
    one = index.read_bytes()
    os.utime(tmp_path / "train" / receipt_path(1, 2), (1, 1))
    keep_index(open_cache(tmp_path, "train"))
    other = index.read_bytes()
    assert one != other
    seen = set()
    with ThreadPoolExecutor(2) as threads:
        rounds = [threads.submit(_write_often, tmp_path, data) for data in (one, other)]
        while not all(each.done() for each in rounds):
            seen.add(index.read_bytes())
            assert len(know_all(tmp_path).arithmetics()) == 1
    assert seen <= {one, other}
    for each in rounds:
        each.result()


def _write_often(folder: Path, data: bytes) -> None:
    for _ in range(10):
        LocalFiles(folder / "train").write(INDEX, data)


def test_a_writer_that_is_killed_leaves_the_old_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = indexed_cache(tmp_path)
    whole = index.read_bytes()
    os.utime(tmp_path / "train" / receipt_path(1, 2), (1, 1))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", _interrupted)
        keep_index(open_cache(tmp_path, "train"))
    assert index.read_bytes() == whole
    assert know_all(tmp_path).receipt(1, 2).block == 2
    keep_index(open_cache(tmp_path, "train"))
    assert index.read_bytes() != whole


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt
