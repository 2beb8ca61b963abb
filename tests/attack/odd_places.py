"""Every place where a file is read: a path to replace, and what then reads it."""

import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from precompute.pack_shard import Packing, make_shard
from shared.errors import BadImage
from shared.images import source as images
from shared.images.source import open_source
from shared.loaders.pixel_loader import Draw, PixelLoader, Request
from shared.models.build import build_model
from shared.models.weights import load_weights
from shared.store.opening import FORMATS
from tests.forging import check_everything, everything, make_small
from tests.helpers import write_image_folder, write_teacher
from tests.tars import write_tar

IN_CACHES = {
    "zarr": {
        "manifest": "manifest.json",
        "receipt": "receipts/v0001-b000001.json",
        "keys": "keys.txt",
        "head": "head.npy",
        "metadata": "targets.zarr/channels/zarr.json",
        "labels": "targets.zarr/label/c/1",
        "array": "targets.zarr/channels/c/0/1/0",
    },
    "webdataset": {"head": "head.npy", "shard": "shards/v0001-b000000.tar"},
}


def look(cache: Path) -> None:
    """All that training and verify.py read of a cache."""
    everything(cache)
    check_everything(cache)


class Places:
    """A small source of each kind; every place is a path to replace and what then reads it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        images.DATA = root / "data"
        write_image_folder(root / "images", classes=2, train=3, val=1)
        self.image = next(path for path in (root / "images/train").rglob("*.jpg"))
        flat = root / "flat"
        (flat / "val").mkdir(parents=True)
        shutil.copy(self.image, flat / "val/a.jpg")
        (flat / "val.csv").write_text("a.jpg,ant\n")
        data = self.image.read_bytes()
        (root / "tars").mkdir()
        write_tar(root / "tars/train-0.tar", {"a.jpg": data, "a.cls": b"0"})
        (root / "tars/classes.txt").write_bytes(b"ant\n")
        write_tar(root / "named/train-0.tar", {"a.jpg": data, "a.cls": b"0"})
        (root / "named/classes.json").write_bytes(b'["ant"]')
        write_teacher(root / "teacher.pt", "cifar_resnet20", 2)
        self.model = build_model("cifar_resnet20", 2)
        for store in FORMATS:
            make_small(root / store, store)

    def all(self) -> dict[str, tuple[Path, Callable[[], object]]]:
        root = self.root
        return {
            "image, then listed": (self.image, self.read_images),
            "image, in the loader": (self.image, self.load),
            "image, packed": (self.image, self.pack),
            "flat image": (root / "flat/val/a.jpg", lambda: self.read("flat", "val")),
            "labels": (root / "flat/val.csv", lambda: self.read("flat", "val")),
            "tar": (root / "tars/train-0.tar", lambda: self.read("tars", "train")),
            "tar of a pattern": (
                root / "tars/train-0.tar",
                lambda: self.read("tars/{split}-0.tar", "train"),
            ),
            "classes.txt": (root / "tars/classes.txt", lambda: self.read("tars", "train")),
            "classes.json": (root / "named/classes.json", lambda: self.read("named", "train")),
            "weights": (
                root / "teacher.pt",
                lambda: load_weights(self.model, str(root / "teacher.pt")),
            ),
            **{
                f"{store}, {name}": (root / store / "train" / path, partial(look, root / store))
                for store, files in IN_CACHES.items()
                for name, path in files.items()
            },
        }

    def read(self, spec: str, split: str) -> None:
        source = open_source(str(self.root / spec), split)
        for index in range(len(source)):
            source.read(index)

    def read_images(self) -> None:
        source = open_source(str(self.root / "images"), "train")
        for index in range(len(source)):
            try:
                source.read(index)
            except BadImage as error:
                assert "\n" not in str(error)

    def load(self) -> None:
        source = open_source(str(self.root / "images"), "train")
        loader = PixelLoader((source,), 32, 0, pin_memory=False)
        index = np.arange(len(source))
        (batch,) = loader.batches([Request(0, index, Draw("center", 0, 0))])
        assert len(batch.bad) <= 1, batch.bad

    def pack(self) -> None:
        source = open_source(str(self.root / "images"), "train")
        to = Path(tempfile.mkdtemp(dir=self.root))
        receipt = make_shard(Packing(source, to, 16, 90, 10, True), 0)
        assert len(receipt.skipped) <= 1
