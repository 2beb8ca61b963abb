"""Receipts: what they say of a block, and by which arithmetic it was made."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from shared.files.sealed import unseal
from shared.records.block import Arithmetic, sha256
from shared.records.receipt import Receipt, make_receipt, receipt_path
from shared.store.checks import note_arithmetic
from shared.store.opening import open_cache
from tests.small_cache import ARITHMETIC, make_block, make_cache, make_manifest, open_empty, put
from tests.stores import bytes_below


def test_receipt_says_what_is_in_the_block() -> None:
    manifest = make_manifest()
    block = replace(make_block(manifest, 1, 2), skipped=((9, "dog/00009.jpg", "zero bytes; ü"),))
    receipt = make_receipt(manifest, block, "5a" * 32, {"b": b"two", "a": b""})
    assert (receipt.view, receipt.block, receipt.start, receipt.stop) == (1, 2, 8, 10)
    assert receipt.files == {"b": (3, sha256(b"two")), "a": (0, sha256(b""))}
    assert receipt.pixels == block.pixels and list(receipt.pixels) == [8]
    fields = [block.fields[name][0].tobytes() for name in ("channels", "logits")]
    assert receipt.targets == {8: sha256(b"".join(fields))}
    assert Receipt.from_json(receipt.to_json()) == receipt


def test_receipt_names_do_not_collide() -> None:
    assert receipt_path(0, 0) == "receipts/v0000-b000000.json"
    names = {receipt_path(view, block) for view in (0, 1, 12, 121) for block in (0, 1, 12, 2112)}
    assert len(names) == 16


def test_a_receipt_names_the_arithmetic_and_nothing_else_does(tmp_path: Path) -> None:
    manifest = make_manifest()
    gpu = Arithmetic("NVIDIA H200", "2.15.0", False, True, 256)
    for name, way in (("cpu", ARITHMETIC), ("gpu", gpu)):
        cache = open_empty(tmp_path / name, manifest)
        for unit in cache.units():
            put(cache, replace(make_block(manifest, *unit), arithmetic=way))
    one, other = (bytes_below(tmp_path / name) for name in ("cpu", "gpu"))
    differing = {path for path in one if one[path] != other[path]}
    assert differing == {f"train/{receipt_path(*unit)}" for unit in cache.units()}
    for path in differing:
        facts = [unseal(tree[path]) for tree in (one, other)]
        assert facts[0].pop("arithmetic") == asdict(ARITHMETIC)
        assert facts[1].pop("arithmetic") == asdict(gpu)
        assert facts[0] == facts[1]


def test_blocks_of_several_arithmetics_are_one_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = make_manifest()
    cache = make_cache(tmp_path, manifest)
    note_arithmetic(open_cache(tmp_path, "train"))
    assert capsys.readouterr().err == ""
    gpu = Arithmetic("NVIDIA H200", "2.15.0", False, True, 256)
    put(cache, replace(make_block(manifest, 1, 2), arithmetic=gpu))
    for some in (cache, open_cache(tmp_path, "train")):  # by who wrote it, and by who reads it
        note_arithmetic(some)
        assert capsys.readouterr().err == (
            f"NOTE: the blocks of {tmp_path}/train were made in 2 different ways, so the last bits "
            f"of their numbers may differ: 5 blocks by cpu, torch 2, no TF32, batches of 4; 1 "
            f"blocks by NVIDIA H200, torch 2.15.0, TF32 in cudnn, batches of 256\n"
        )
