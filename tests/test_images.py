"""Image sources: torchvision's order, a digest that means something, errors word for word."""

import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import IMG_EXTENSIONS

from shared.errors import BadImage, InputError
from shared.images import digits
from shared.images import source as images
from shared.images.digits import write_digits
from shared.images.listing import EXTENSIONS, Keys
from shared.images.source import ImageSource, default_source, open_source
from shared.pixels.decode import decode
from tests.test_regular import ODD

# Sorts differently by whole path, by part, and without regard to case; two hidden names.
FILES = {
    "train/cat/b.jpg": b"one",
    "train/cat/a.JPEG": b"three",
    "train/cat/B.png": b"",
    "train/cat/deep/z.bmp": b"seven!!",
    "train/cat/deep-er/a.webp": b"x",
    "train/cat/deep/er/a.tiff": b"xx",
    "train/cat/readme.txt": b"not an image",
    "train/cat/.hidden.jpg": b"hidden",
    "train/cat/._b.jpg": b"macOS",
    "train/.ipynb_checkpoints/c.jpg": b"hidden class",
    "train/Dog/1.ppm": b"12",
    "train/Dog/10.pgm": b"1",
    "train/Dog/2.tif": b"123",
    "train/élan/ü.jpg": b"umlaut",
    "val/Dog/v.jpg": b"v",
    "val/cat/v.jpg": b"v",
    "val/élan/v.jpg": b"v",
}
KEYS = [
    "Dog/1.ppm",
    "Dog/10.pgm",
    "Dog/2.tif",
    "cat/B.png",
    "cat/a.JPEG",
    "cat/b.jpg",
    "cat/deep/z.bmp",
    "cat/deep-er/a.webp",
    "cat/deep/er/a.tiff",
    "élan/ü.jpg",
]


def write(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(tmp_path / "root", FILES)


@pytest.fixture(scope="module")
def digits_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder in which digits were written."""
    data = tmp_path_factory.mktemp("data")
    write_digits(data / "digits")
    return data


def test_order_is_torchvisions(root: Path) -> None:
    visible = {name: data for name, data in FILES.items() if "/." not in name}
    reference = ImageFolder(write(root.parent / "visible", visible) / "train")
    expected = [Path(path).relative_to(reference.root).as_posix() for path, _ in reference.samples]
    source = open_source(str(root), "train")
    assert sorted(expected) == sorted(KEYS)
    assert list(source.keys) == expected
    assert source.labels.tolist() == [label for _, label in reference.samples]
    assert source.labels.dtype == np.int64
    assert list(source.classes) == reference.classes
    assert EXTENSIONS == IMG_EXTENSIONS


def test_a_source_says_what_it_is(root: Path) -> None:
    source = open_source(str(root), "train")
    assert (source.spec, source.split) == (str(root), "train")
    assert (source.policy, source.size) == (None, None)
    assert len(source) == len(source.keys) == len(KEYS)
    assert [source.read(i) for i in range(len(source))] == [
        FILES[f"train/{k}"] for k in source.keys
    ]


def test_links_are_followed(root: Path) -> None:
    linked = root.parent / "linked"
    (linked / "train").mkdir(parents=True)
    for name in ("Dog", "cat", "élan"):
        (linked / "train" / name).symlink_to(root / "train" / name)
    (linked / "train" / "Dog" / "3.jpg").symlink_to(root / "train" / "cat" / "b.jpg")
    assert list(open_source(str(linked), "train").keys)[:4] == [*KEYS[:3], "Dog/3.jpg"]


def test_a_relative_folder_is_found_from_elsewhere_later(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root.parent)
    source = open_source("root", "val")
    monkeypatch.chdir("/")
    assert source.read(0) == b"v"


def test_keys_are_a_sequence() -> None:
    names = ["a", "ü/b", "line\nfeed", os.fsdecode(b"\xff")]
    keys = Keys.pack(names)
    assert [keys[i] for i in range(4)] == list(keys) == names
    assert keys[-1] == names[-1]
    with pytest.raises(IndexError):
        keys[4]
    assert len(Keys.pack([])) == 0


def test_digest_bytes_are_as_documented(root: Path) -> None:
    source = open_source(str(root), "train")
    text = "classes\0Dog\0cat\0élan\n" + "".join(
        f"{key}\0{label}\0{len(FILES[f'train/{key}'])}\n"
        for key, label in zip(source.keys, source.labels, strict=True)
    )
    assert source.digest == sha256(text.encode()).hexdigest()
    assert source.digest == "32cb2c238043ce1ef2a3cbb5ea1e7573bedd89dfce3c404645312b9ecc7a0341"


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (lambda train: None, True),
        (lambda train: (train / "cat/b.jpg").write_bytes(b"two"), True),  # pixels are not read
        (lambda train: (train / "cat/readme.txt").write_bytes(b"longer than it was"), True),
        (lambda train: (train / "cat/b.jpg").write_bytes(b"four"), False),
        (lambda train: (train / "cat/b.jpg").rename(train / "cat/bb.jpg"), False),
        (lambda train: (train / "cat/b.jpg").rename(train / "Dog/b.jpg"), False),
        (lambda train: (train / "cat/b.jpg").unlink(), False),
        (lambda train: (train / "cat").rename(train / "cats"), False),
        (lambda train: write(train, {"Aardvark/a.jpg": b"a"}), False),  # moves every label
    ],
)
def test_digest_changes_with_key_label_and_size(
    root: Path, change: Callable[[Path], object], same: bool
) -> None:
    before = open_source(str(root), "train").digest
    moved = root.rename(root.parent / "elsewhere")  # the place is no part of it
    change(moved / "train")
    assert (open_source(str(moved), "train").digest == before) == same


def test_limit_keeps_evenly_spaced_samples(root: Path) -> None:
    whole = open_source(str(root), "train")
    kept = open_source(str(root), "train", limit=4)
    assert list(kept.keys) == [KEYS[i] for i in (0, 2, 5, 7)]
    assert kept.labels.tolist() == [whole.labels[i] for i in (0, 2, 5, 7)]
    assert kept.classes == whole.classes
    assert kept.read(1) == b"123"
    assert kept.digest != whole.digest
    for limit in (len(KEYS), 1000):
        assert open_source(str(root), "train", limit=limit).digest == whole.digest


def test_pickle_carries_everything_and_little(root: Path) -> None:
    source = open_source(str(root), "train")
    copy = pickle.loads(pickle.dumps(source))
    assert isinstance(copy, ImageSource)
    assert list(copy.keys) == list(source.keys)
    assert copy.labels.tolist() == source.labels.tolist()
    assert (copy.digest, copy.classes, copy.size) == (source.digest, source.classes, source.size)
    assert copy.read(3) == source.read(3)
    names = [f"n{i // 1300:08d}/n{i // 1300:08d}_{i}.JPEG" for i in range(20_000)]
    assert len(pickle.dumps(Keys.pack(names))) < 45 * len(names)  # 29 bytes a key, 8 for its place


EXTENSION_RULE = (
    "an ImageFolder split holds <class>/<name> ending in "
    ".jpg, .jpeg, .png, .ppm, .bmp, .pgm, .tif, .tiff, .webp"
)


@pytest.mark.parametrize(
    ("files", "split", "limit", "text"),
    [
        (
            {},
            "train",
            None,
            "--images must be a folder that holds train/ and val/, a pattern of tars, imagenette, "
            "cifar10, cifar100 or digits; got {root}: no such folder",
        ),
        (FILES, "test", None, "--split must be a folder in {root}, got test: found train, val"),
        (
            {"a.jpg": b""},
            "train",
            None,
            "--split must be a folder in {root}, got train: found no folders",
        ),
        (
            FILES,
            "../root/train",
            None,
            "--split must be a folder in {root}, got ../root/train: found train, val",
        ),
        (
            {"train/a.jpg": b""},
            "train",
            None,
            "{root}/train holds images outside class folders and no labels beside it: found none "
            "of train.csv, LOC_train_solution.csv",
        ),
        (
            {"train/a.gif": b""},
            "train",
            None,
            "there are no images in {root}/train: " + EXTENSION_RULE,
        ),
        (
            {"train/a/a.gif": b""},
            "train",
            None,
            "there are no images in {root}/train: " + EXTENSION_RULE,
        ),
        (
            {**FILES, "train/ant/a.txt": b"", "train/bee/.b.jpg": b""},
            "train",
            None,
            "2 of 5 classes in {root}/train have no images: ant, bee; " + EXTENSION_RULE,
        ),
        (
            {**FILES, **{f"train/x{i}/a.txt": b"" for i in range(7)}},
            "train",
            None,
            "7 of 10 classes in {root}/train have no images: x0, x1, x2, x3, x4, ...; "
            + EXTENSION_RULE,
        ),
        (FILES, "train", 0, "--limit must be at least 1, got 0"),
    ],
)
def test_errors(
    tmp_path: Path, files: dict[str, bytes], split: str, limit: int | None, text: str
) -> None:
    root = write(tmp_path / "root", files)
    with pytest.raises(InputError) as caught:
        open_source(str(root), split, limit)
    assert str(caught.value) == text.format(root=root)


def test_unreadable_files(root: Path) -> None:
    source = open_source(str(root), "val")
    path = root / "val/Dog/v.jpg"
    path.unlink()
    with pytest.raises(InputError) as caught:
        source.read(0)
    assert str(caught.value) == (
        f"{path} cannot be read: No such file or directory; put it back, or allow it to be read"
    )


@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_regular_file_is_listed_and_a_bad_image(
    root: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But a folder is a folder, whatever it is called."""
    before = open_source(str(root), "val")
    monkeypatch.chdir(root / "val/Dog")  # paths of sockets are short
    make, text = ODD[kind]
    make(Path("odd.jpg"))
    if "folder" in kind and kind != "folder":
        Path("odd.jpg").unlink()
        Path("odd.jpg").symlink_to("/dev/null")
        text = "a device"
    source = open_source(str(root), "val")
    if kind == "folder":
        assert source.digest == before.digest
        return
    (index,) = (i for i, key in enumerate(source.keys) if key == "Dog/odd.jpg")
    with pytest.raises(BadImage) as caught:
        source.read(index)
    assert text in str(caught.value) and f"{root}/val/Dog/odd.jpg: it is " in str(caught.value)
    for other in range(len(source)):
        if other != index:
            source.read(other)


def test_an_image_of_a_terabyte_is_a_bad_image(root: Path) -> None:
    with (root / "val/Dog/v.jpg").open("wb") as file:
        file.truncate(1 << 40)
    source = open_source(str(root), "val")
    index = list(source.keys).index("Dog/v.jpg")
    with pytest.raises(BadImage, match="1,099,511,627,776 bytes are more than the limit of 1,073"):
        source.read(index)


def test_a_flat_folder_stays_one_with_a_folder_called_as_an_image(tmp_path: Path) -> None:
    root = write(tmp_path / "root", {"val/a.jpg": b"", "val.csv": b"a.jpg,ant\n"})
    before = open_source(str(root), "val")
    (root / "val/b.jpg").mkdir()
    assert open_source(str(root), "val").digest == before.digest


def test_folders_deeper_than_pythons_stack(root: Path) -> None:
    deep = f"{root}/val/cat"
    for _ in range(1500):
        deep += "/d"
        os.mkdir(deep)
    Path(f"{deep}/x.jpg").write_bytes(b"")
    try:
        source = open_source(str(root), "val")
        assert any(key.endswith("d/d/x.jpg") for key in source.keys)
    finally:  # what pytest removes old folders with is not made for such depths
        os.remove(f"{deep}/x.jpg")
        os.removedirs(deep)


def test_names_that_no_folder_can_have() -> None:
    for spec in ("~no-user-of-this-name/x", "x" * 5000, "/".join(["x"] * 5000), "a\0b"):
        with pytest.raises(InputError) as caught:
            open_source(spec, "train")
        assert "\n" not in str(caught.value)


def test_links_in_a_circle_end(root: Path) -> None:
    (root / "val/cat/again").symlink_to(root / "val/cat")
    with pytest.raises(InputError, match="again is a link to a folder that contains it"):
        open_source(str(root), "val")


def test_default_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Path(__file__).parents[1] / "data" == images.DATA
    monkeypatch.setattr(images, "DATA", tmp_path)
    assert default_source() == "digits"
    (tmp_path / "imagenet").mkdir()
    assert default_source() == str(tmp_path / "imagenet")


def test_digits(digits_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "DATA", digits_data)
    train, val = open_source("digits", "train"), open_source("digits", "val")
    assert (len(train), len(val)) == (1442, 355)
    assert (train.spec, train.policy, train.size) == ("digits", "pad-crop", 32)
    assert train.classes == val.classes == tuple("0123456789")
    assert np.bincount(val.labels).tolist() == [35, 36, 35, 36, 36, 36, 36, 35, 34, 36]
    assert not set(train.keys) & set(val.keys)
    assert train.keys[0] == "0/0000.jpg"  # scikit-learn's first digit is a 0
    pixels = decode(train.read(0))
    assert pixels.shape == (32, 32, 3)
    assert np.ptp(pixels.astype(int), axis=2).max() <= 2  # grey
    assert pixels.max() > 240
    assert pixels.min() < 10


def test_digits_show_scikit_learns_images_under_the_right_label(digits_data: Path) -> None:
    """Shrunk back to 8x8 and 0..16, every image is nearest to the one whose index it carries."""
    from sklearn.datasets import load_digits

    reference = load_digits()
    paths = sorted((digits_data / "digits").glob("*/*/*.jpg"), key=lambda path: path.stem)
    assert [path.stem for path in paths] == [f"{i:04d}" for i in range(1797)]
    assert [int(path.parent.name) for path in paths] == reference.target.tolist()
    shrunk = np.stack([decode(path.read_bytes())[..., 0] for path in paths]) / 255 * 16
    shrunk = shrunk.reshape(-1, 8, 4, 8, 4).mean(axis=(2, 4)).reshape(-1, 64)
    assert np.abs(shrunk - reference.data).mean() < 1  # of 16; bicubic and JPEG take their part
    distance = (reference.data**2).sum(axis=1) - 2 * shrunk @ reference.data.T  # + a row's own
    assert (distance.argmin(axis=1) == np.arange(1797)).mean() > 0.995  # some are near twins


def contents(root: Path) -> dict[str, bytes]:
    paths = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


def test_digits_written_by_two_processes_at_once(digits_data: Path, tmp_path: Path) -> None:
    """Both wait for one file before they start, both succeed, and the bytes are always the same."""
    root, start = tmp_path / "data" / "digits", tmp_path / "start"
    code = (
        "import pathlib, sys, time, sklearn.datasets\n"
        "from shared.images.digits import write_digits\n"
        "print('ready', flush=True)\n"
        "while not pathlib.Path(sys.argv[2]).exists(): time.sleep(0.001)\n"
        "write_digits(pathlib.Path(sys.argv[1]))\n"
    )
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", code, root, start],
            cwd=Path(__file__).parents[1],
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    start.touch()
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    assert contents(root) == contents(digits_data / "digits")
    assert os.listdir(root.parent) == ["digits"]  # nothing temporary is left


def test_a_slower_process_uses_the_winners_digits(
    digits_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "digits"

    def finish_second(tree: Path) -> None:
        write(tree, {"train/0/0000.jpg": b"the slower one's"})
        shutil.copytree(digits_data / "digits", root)

    monkeypatch.setattr(digits, "_write_tree", finish_second)
    write_digits(root)
    assert contents(root) == contents(digits_data / "digits")
    assert os.listdir(tmp_path) == ["digits"]


def test_complete_digits_are_left_alone(digits_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(digits, "_write_tree")
    write_digits(digits_data / "digits")


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(tree: Path) -> None:
        write(tree, {"train/0/0000.jpg": b"half"})
        raise KeyboardInterrupt

    monkeypatch.setattr(digits, "_write_tree", fail)
    with pytest.raises(KeyboardInterrupt):
        write_digits(tmp_path / "digits")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("files", "found"), [({}, 0), ({"train/0/0.jpg": b"x", "val/0/1.jpg": b""}, 1)]
)
def test_something_else_in_the_place_of_digits(
    tmp_path: Path, files: dict[str, bytes], found: int
) -> None:
    root = tmp_path / "digits"
    root.mkdir()
    write(root, files)
    with pytest.raises(InputError) as caught:
        write_digits(root)
    assert str(caught.value) == (
        f"{root} does not hold the 1797 images of the built-in digits, but {found}: "
        "remove this folder and it is written again"
    )
    assert contents(root) == files


def test_digits_without_scikit_learn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(InputError) as caught:
        write_digits(tmp_path / "digits")
    assert str(caught.value) == (
        "the built-in image set digits needs scikit-learn: pip install scikit-learn, "
        "or name an ImageFolder with --images"
    )
    assert os.listdir(tmp_path) == []
