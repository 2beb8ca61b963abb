"""Makes one shard of packed images: a tar in WebDataset's layout, and its receipt.

    train-000000.tar           ustar; for each sample KEY.jpg, KEY.cls (the label, in decimal)
    .pack/train-000000.json    SHA-256 of the tar, number of samples, skipped images

KEY is the source's key without its extension. Dots in the file name are replaced by "_", because
WebDataset splits names at the first dot. Members have no times or owners, so the bytes depend on
the source and the settings only (and on Pillow, for images that are re-encoded).

An image whose shorter side is longer than wanted is resized to that length, antialiased, and
encoded as JPEG. A JPEG that is small enough is copied unchanged; other formats are encoded as JPEG.
"""

import io
import json
import posixpath
import tarfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from PIL import Image

from shared.errors import BadImage, InputError
from shared.files.local import LocalFiles
from shared.files.regular import read_regular
from shared.images.source import ImageSource
from shared.loaders.worker import begin_worker
from shared.pixels.decode import decode

FOLDER = ".pack"
MAX_RECEIPT = 1 << 28  # bytes: enough if a million samples are all skipped
JPEG_START = b"\xff\xd8\xff"


@dataclass(frozen=True, slots=True)
class Packing:
    """What a worker process needs to make any shard."""

    source: ImageSource
    to: Path
    shorter_side: int  # pixels
    quality: int
    shard_size: int  # samples
    skip_bad: bool

    @property
    def shards(self) -> int:
        return -(-len(self.source) // self.shard_size)

    def name(self, shard: int) -> str:
        return f"{self.source.split}-{shard:06d}"

    def rows(self, shard: int) -> range:
        start = shard * self.shard_size
        return range(start, min(start + self.shard_size, len(self.source)))


@dataclass(frozen=True, slots=True)
class PackedShard:
    sha256: str
    num_bytes: int
    samples: int
    skipped: tuple[tuple[str, str], ...]  # (key, reason)


def packed_key(key: str) -> str:
    folder, name = posixpath.split(key)
    return posixpath.join(folder, posixpath.splitext(name)[0].replace(".", "_"))


def pack_image(data: bytes, shorter_side: int, quality: int) -> bytes:
    """A JPEG whose shorter side has at most `shorter_side` pixels. Raises BadImage."""
    pixels = decode(data)  # even if `data` is kept, to make sure that it decodes
    height, width = pixels.shape[:2]
    scale = shorter_side / min(height, width)
    if scale >= 1 and data.startswith(JPEG_START):
        return data
    image = Image.fromarray(pixels)
    if scale < 1:
        size = max(shorter_side, round(width * scale)), max(shorter_side, round(height * scale))
        image = image.resize(size, Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
    return buffer.getvalue()


def read_receipt(packing: Packing, shard: int) -> PackedShard | None:
    """The receipt of a shard; None unless the shard exists and has the hash in it."""
    name = packing.name(shard)
    try:
        facts = json.loads(read_regular(packing.to / FOLDER / f"{name}.json", MAX_RECEIPT))
        data = read_regular(packing.to / f"{name}.tar", int(facts["num_bytes"]))
        skipped = tuple((str(key), str(reason)) for key, reason in facts["skipped"])
        receipt = PackedShard(facts["sha256"], facts["num_bytes"], facts["samples"], skipped)
    except (OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return None
    return receipt if sha256(data).hexdigest() == receipt.sha256 else None


def make_shard(packing: Packing, shard: int) -> PackedShard:
    """Writes a shard and then its receipt, unless both are there.

    Raises InputError if an image does not decode and bad images are not skipped, and InputError or
    StorageError if the source fails. No shard is written then.
    """
    found = read_receipt(packing, shard)
    if found is not None and (packing.skip_bad or not found.skipped):
        return found
    source, skipped = packing.source, []
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for index in packing.rows(shard):
            key = source.keys[index]
            try:
                data = pack_image(source.read(index), packing.shorter_side, packing.quality)
            except BadImage as error:
                if not packing.skip_bad:
                    raise InputError(
                        f"{key} in {source.spec} does not decode ({error}); replace it, or leave "
                        f"such images out with --skip-bad"
                    ) from error
                skipped.append((key, str(error)))
                continue
            _add(tar, f"{packed_key(key)}.jpg", data)
            _add(tar, f"{packed_key(key)}.cls", b"%d" % source.labels[index])
    content = buffer.getvalue()
    samples = len(packing.rows(shard)) - len(skipped)
    receipt = PackedShard(sha256(content).hexdigest(), len(content), samples, tuple(skipped))
    name = packing.name(shard)
    LocalFiles(packing.to).write(f"{name}.tar", content)
    facts = {field: getattr(receipt, field) for field in PackedShard.__slots__}
    LocalFiles(packing.to).write(f"{FOLDER}/{name}.json", json.dumps(facts).encode() + b"\n")
    return receipt


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    try:
        tar.addfile(member, io.BytesIO(data))
    except ValueError as error:
        raise InputError(
            f"{name} cannot be packed, as a tar takes names of at most 255 bytes ({error}): "
            f"shorten the name"
        ) from error


# In worker processes

_packing: Packing


def start_worker(packing: Packing) -> None:
    global _packing
    _packing = packing
    begin_worker()


def make_shard_here(shard: int) -> PackedShard:
    return make_shard(_packing, shard)
