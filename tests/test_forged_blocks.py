"""A block's file forged together with its receipt, so that every hash is right: one line, too.

Hashes find what was damaged. Somebody who changes a file can write the receipt as well.
"""

import hashlib
import io
import json
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.errors import InputError
from shared.files.sealed import seal, unseal
from shared.images.source import open_source
from shared.loaders.pixel_loader import PixelLoader, Replay, Request
from shared.records.receipt import receipt_path
from tests.forging import everything, make_small
from tests.helpers import write_image_folder
from tests.small_cache import make_block, put

SHARD = "shards/v0000-b000000.tar"


def forge(root: Path, path: str, data: bytes) -> None:
    (root / path).write_bytes(data)
    receipt = root / receipt_path(0, 0)
    facts = unseal(receipt.read_bytes())
    assert path in facts["files"]
    facts["files"][path] = [len(data), hashlib.sha256(data).hexdigest()]
    receipt.write_bytes(seal(facts))


def refusal(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        everything(folder)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize("change", ["other bytes", "cut", "zeros"])
@pytest.mark.parametrize("array", ["channels/c/0/0/0", "flip/c/0/0"])
def test_shards_of_arrays(tmp_path: Path, array: str, change: str) -> None:
    make_small(tmp_path, "zarr")
    path = f"targets.zarr/{array}"
    whole = (tmp_path / "train" / path).read_bytes()
    size = len(whole)
    forged = {"other bytes": b"\1\2" * size, "cut": whole[: size // 2], "zeros": bytes(size)}
    forge(tmp_path / "train", path, forged[change])
    text = refusal(tmp_path)
    assert f"{path} has the hash in its receipt, but is not a shard of its array" in text
    assert "delete the receipt, v0000-b000000" in text


@pytest.mark.parametrize("pred", [-7, -1, 3, 2**31 - 1])
@pytest.mark.parametrize("store", ["zarr", "webdataset"])
def test_a_class_that_the_teacher_does_not_know(tmp_path: Path, store: str, pred: int) -> None:
    """It would be an index into a row of logits."""
    cache = make_small(tmp_path, store)
    if store == "webdataset":
        whole = (tmp_path / "train" / SHARD).read_bytes()
        forged = edited(2, lambda targets: targets[:-4] + struct.pack("<i", pred))(whole)
        forge(tmp_path / "train", SHARD, forged)
    else:
        block = make_block(cache.manifest, 0, 0)
        block.pred[0] = pred
        put(cache, block)
    assert f"block 0 of view 0 in {tmp_path}/train holds pred {pred}, which is not one" in refusal(
        tmp_path
    )


def parts_of(shard: bytes) -> list[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(shard)) as tar:
        return [(member.name, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]


def packed(parts: list[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in parts:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def edited(member: int, change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Another content of one member of the shard."""

    def edit(shard: bytes) -> bytes:
        parts = parts_of(shard)
        parts[member] = (parts[member][0], change(parts[member][1]))
        return packed(parts)

    return edit


def told(**facts: object) -> Callable[[bytes], bytes]:
    """Other facts in the .json of the first sample."""
    return edited(0, lambda data: json.dumps({**json.loads(data), **facts}).encode())


def jpeg(side: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side)).save(buffer, "jpeg")
    return buffer.getvalue()


SHARDS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "label text": (told(label="x"), "label must be a whole number"),
    "label huge": (told(label=10**30), "label must be a whole number"),
    "label true": (told(label=True), "label must be a whole number"),
    "label below": (told(label=-5), "label must be a whole number"),
    "label beyond": (told(label=3), "label must be one of 3 classes: got 3"),
    "key number": (told(key=3), "key must be a text"),
    "another index": (told(index=3), "index must be 1: got 3"),
    "field too many": (told(more=1), "'more' is not a field"),
    "deep": (edited(0, lambda _: b"[" * 100_000), "recursion"),
    "a list": (edited(0, lambda _: b"[]"), "must be an object"),
    "no JPEG": (edited(1, lambda _: b"xx"), "the JPEG of sample "),
    "larger JPEG": (edited(1, lambda _: jpeg(9)), "has 9 x 9"),
    "short targets": (edited(2, lambda data: data[:-1]), "a packed member of targets has"),
    "a sample less": (lambda shard: packed(parts_of(shard)[3:]), "it lacks sample 1"),
    "a sample twice": (lambda shard: packed(parts_of(shard)[:3] * 2), "KeyError: 1"),
    "a member less": (lambda shard: packed(parts_of(shard)[:-1]), "a member .targets was expected"),
    "cut": (lambda shard: shard[:700], "a member .jpg was expected"),
    "empty": (lambda shard: b"", "IndexError"),
    "no tar": (lambda shard: b"\xff" * 2000, "UnicodeDecodeError"),
}


@pytest.mark.parametrize("kind", SHARDS)
def test_view_shards(tmp_path: Path, kind: str) -> None:
    forge_it, part = SHARDS[kind]
    make_small(tmp_path, "webdataset")
    forge(tmp_path / "train", SHARD, forge_it((tmp_path / "train" / SHARD).read_bytes()))
    assert part in refusal(tmp_path)


@pytest.mark.parametrize(
    ("height", "width"), [(0, 5), (5, 0), (-3, 5), (2**31 - 1, 2**31 - 1), (10_000, 10_000)]
)
def test_boxes_that_no_policy_draws(tmp_path: Path, height: int, width: int) -> None:
    """They were RuntimeErrors of a resize, or filled the memory."""
    write_image_folder(tmp_path, classes=1, train=1, val=1)
    loader = PixelLoader((open_source(str(tmp_path), "train"),), 8, 0, pin_memory=False)
    box = np.array([[0, 0, height, width]], np.int32)
    request = Request(0, np.array([0]), Replay("pad-crop", box, np.array([False])))
    with pytest.raises(InputError, match=f"the box of a view is {height} x {width}, and "):
        list(loader.batches([request]))
