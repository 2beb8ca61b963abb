"""A cache with receipts.index: what is unchanged is not read again, what has changed is."""

import os
import pickle
from pathlib import Path

import pytest

from shared.errors import InputError
from shared.records.identity import cache_id
from shared.records.receipt import Receipt, receipt_name, receipt_path
from shared.store.opening import open_cache
from shared.store.receipt_index import INDEX, decode_index, encode_index
from tests.receipts.kept import indexed_cache, keep_index, know_all, read_paths
from tests.small_cache import make_block, make_manifest, open_empty, put
from tests.stores import every_format, flip_middle_bit, refused

UNITS = [(view, block) for view in range(2) for block in range(3)]


@every_format
def test_a_reader_reads_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str
) -> None:
    indexed_cache(tmp_path, store)
    paths = read_paths(monkeypatch)
    cache = open_cache(tmp_path, "train")
    cache.require_views()
    assert cache.samples_of_blocks().tolist() == [4, 4, 2] and cache.skipped() == []
    assert cache.num_bytes() > 0 and sum(cache.arithmetics().values()) == 6
    assert [cache.usable_receipt(*unit).block for unit in UNITS] == [0, 1, 2] * 2
    assert paths == ["manifest.json", INDEX]


def test_what_is_new_or_changed_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    indexed_cache(tmp_path, added={"attention2": (3,)})
    root = tmp_path / "train"
    os.utime(root / receipt_path(1, 2, "attention2"))  # the same contents, written later
    (root / receipt_path(0, 1)).rename(root / "aside")
    grown = open_empty(tmp_path, make_manifest(views=3))
    put(grown, make_block(grown.manifest, 2, 0))
    paths = read_paths(monkeypatch)
    cache = know_all(tmp_path)
    changed = [receipt_path(1, 2, "attention2"), receipt_path(2, 0)]
    assert sorted(paths[1:]) == [*sorted([INDEX, *changed])]
    assert "incomplete: block 1 of view 0 is missing" in refused(lambda: cache.receipt(0, 1))


@pytest.mark.parametrize("how", ["other bytes", "another block", "removed"])
def test_the_index_hides_no_damage_to_a_receipt(tmp_path: Path, how: str) -> None:
    """All leave the size as it is, as far as there is one."""
    indexed_cache(tmp_path)
    path = tmp_path / "train" / receipt_path(1, 1)
    if how == "other bytes":
        flip_middle_bit(path)
    elif how == "another block":
        path.write_bytes((path.parent / receipt_name(0, 1)).read_bytes())
    else:
        path.unlink()
    cache = know_all(tmp_path)
    with pytest.raises(InputError) as told:
        cache.receipt(1, 1)
    (tmp_path / "train" / INDEX).unlink()
    assert str(told.value) == refused(lambda: know_all(tmp_path).receipt(1, 1))


def test_a_bit_that_rots_under_the_same_stamp_is_found_by_who_checks(tmp_path: Path) -> None:
    """A reader uses what the receipt said; the check reads the receipt itself."""
    indexed_cache(tmp_path)
    path = tmp_path / "train" / receipt_path(1, 1)
    status = path.stat()
    flip_middle_bit(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    cache = know_all(tmp_path)
    assert cache.receipt(1, 1).block == 1
    cache.read_view(1, ["pred"])
    assert "is damaged" in refused(lambda: cache.check_block(1, 1))
    assert not cache.is_done(1, 1) and cache.is_done(1, 0)


FORGED = {
    "no receipt": lambda data: b"x" * len(data),
    "another block's": lambda data: data.replace(b'"block": 1', b'"block": 2'),
    "edited": lambda data: data.replace(b'"start": 4', b'"start": 0'),
}


@pytest.mark.parametrize("how", FORGED)
def test_a_forged_entry_does_not_stand_for_its_receipt(tmp_path: Path, how: str) -> None:
    """Entries are checked as receipts are, and the receipt itself is asked before it is refused."""
    index = indexed_cache(tmp_path)
    cache = open_cache(tmp_path, "train")
    name = receipt_name(1, 1)
    entries = decode_index(cache_id(cache.manifest), index.read_bytes())
    stamp, data = entries[name]
    entries[name] = stamp, FORGED[how](bytes(data))
    index.write_bytes(encode_index(cache_id(cache.manifest), entries))
    cache.know(cache.units())
    assert cache.receipt(1, 1) == open_cache(tmp_path, "train").receipt(1, 1, fresh=True)


def test_a_well_forged_entry_is_worth_a_forged_receipt_and_a_check_replaces_it(
    tmp_path: Path,
) -> None:
    index = indexed_cache(tmp_path)
    whole = index.read_bytes()
    cache = open_cache(tmp_path, "train")
    entries = decode_index(cache_id(cache.manifest), whole)
    stamp, data = entries[receipt_name(1, 1)]
    facts = Receipt.from_json(bytes(data))
    (path, (size, sha)), *_ = facts.files.items()
    facts.files[path] = size, sha[::-1]
    entries[receipt_name(1, 1)] = stamp, facts.to_json()
    index.write_bytes(encode_index(cache_id(cache.manifest), entries))
    reader = know_all(tmp_path)
    assert reader.receipt(1, 1) == facts
    # Its files do not have that hash, and then the receipt itself decides.
    assert len(reader.read_view(1, list(reader.format.array_paths(reader.manifest, 1, 1)))) > 3
    checker = know_all(tmp_path)
    checker.check_block(1, 1)
    keep_index(checker)
    assert index.read_bytes() == whole


def test_workers_carry_no_receipts(tmp_path: Path) -> None:
    indexed_cache(tmp_path)
    before = len(pickle.dumps(open_cache(tmp_path, "train")))
    cache = know_all(tmp_path)
    cache.samples_of_blocks()
    cache.arithmetics()
    assert len(pickle.dumps(cache)) < before + 400
    again = pickle.loads(pickle.dumps(cache))
    assert again.receipt(1, 1) == cache.receipt(1, 1)
    assert again.samples_of_blocks().tolist() == [4, 4, 2]


def test_a_block_that_is_made_again_meanwhile_is_read(tmp_path: Path) -> None:
    """A process that knows the old receipt reads the new block, as a repair may write others."""
    indexed_cache(tmp_path)
    cache = know_all(tmp_path)
    other = make_block(cache.manifest, 1, 1)
    flipped = other.flip.copy()
    other.flip[:] = ~other.flip
    put(open_cache(tmp_path, "train"), other)
    assert (cache.read_block(1, 1, ["flip"])["flip"] == ~flipped).all()
