"""What is no regular file, or a file beyond all measure, in every place where one is read.

    python tests/attack/odd_files.py [ATTEMPTS]

Each must be one line at once, or a bad image that --skip-bad goes past; nothing hangs or fills the
memory. First in this process, place by place; then through the commands themselves.
"""

import itertools
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from precompute.pack_shard import Packing, make_shard
from shared.cache.opening import FORMATS
from shared.errors import BadImage, InputError, StorageError
from shared.files import retry
from shared.images import source as images
from shared.images.source import open_source
from shared.loaders.pixel_loader import Draw, PixelLoader, Request
from shared.models.build import build_model, load_weights
from tests.attack.bounds import problem_in
from tests.attack.tally import Tally, attempts_wanted, problem_of
from tests.forging import check_everything, everything, make_small
from tests.helpers import TEACHER, start, write_image_folder, write_teacher
from tests.tars import write_tar

USER = (InputError, StorageError)
DEFAULT = 232
COMMANDS = 4  # of the attempts, started as a user would


def a_socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # paths of sockets are short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)
    os.chdir(here)


def a_sparse_file(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(10 << 30)


ODD: dict[str, Callable[[Path], object]] = {
    "folder": Path.mkdir,
    "fifo": os.mkfifo,
    "socket": a_socket,
    "link to /dev/zero": lambda path: path.symlink_to("/dev/zero"),
    "link to /dev/full": lambda path: path.symlink_to("/dev/full"),
    "link to /dev/random": lambda path: path.symlink_to("/dev/random"),
    "link to nothing": lambda path: path.symlink_to("nowhere"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "link to a folder": lambda path: path.symlink_to("/"),
    "sparse 10 GB": a_sparse_file,
    "link to a file of /proc": lambda path: path.symlink_to("/proc/self/mem"),
    "empty": Path.touch,
}


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


def replaced(path: Path, make: Callable[[Path], object]) -> Iterator[None]:
    """`path` is something else while the generator stands."""
    aside = path.with_name(".aside")
    path.rename(aside)
    try:
        make(path)
        yield
    finally:
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
        aside.rename(path)


def command_problem(places: Places, number: int) -> str | None:
    """precompute as a user starts it, with and without --skip-bad."""
    skip = number % 2 == 1
    flags: list[object] = [
        "--images",
        places.root / "images",
        "--size",
        32,
        *TEACHER,
    ]
    flags += ["--weights", places.root / "teacher.pt", "--batch-size", 4, "--workers", number % 3]
    flags += ["--cache", places.root / f"cache{number}", "--views", 1]
    done = start(
        "precompute/run.py", "--split", "train", *flags, *(["--skip-bad"] if skip else [])
    ).wait(120)
    # One of six is more than the share that may be bad, where that is checked
    return problem_of(done.returncode, done.stderr, frozenset({0, 2} if skip else {2}))


def main() -> int:
    retry.LOCAL_WAIT /= 100  # what cannot be read at all is tried again
    tally = Tally("odd_files", attempts_wanted(DEFAULT))
    with tempfile.TemporaryDirectory() as folder:
        places = Places(Path(folder))
        for _, act in places.all().values():
            assert problem_in(act) is None, "the places are sound before they are attacked"
        attempts = list(itertools.product(ODD.items(), places.all().items()))
        for (kind, make), (place, (path, act)) in attempts[: max(0, tally.wanted - COMMANDS)]:
            for _ in replaced(path, make):
                # An empty file of class names or a folder of images may be what the user wants
                tally.record(f"{kind} as {place}", problem_in(act, (*USER, BadImage)))
        for number, kind in enumerate(["fifo", "link to /dev/zero", "sparse 10 GB", "socket"]):
            if tally.attempts < tally.wanted:
                for _ in replaced(places.image, ODD[kind]):
                    tally.record(f"precompute: {kind}", command_problem(places, number))
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
