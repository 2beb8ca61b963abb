"""ImageNet as users have it: official tars, flat val folders, and one digest for all of them."""

import io
import pickle
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from shared.errors import InputError
from shared.images import source as images
from shared.images.source import open_source
from tests.image_trees import write

WNIDS = ["n01440764", "n01443537", "n02084071"]
TRAIN = {
    f"{wnid}/{wnid}_{number}.JPEG": f"{wnid} {number}".encode() * number
    for wnid in WNIDS
    for number in (10026, 9, 105)
}
VAL = [f"ILSVRC2012_val_{i:08d}.JPEG" for i in range(1, 7)]
VAL_WNIDS = [WNIDS[i] for i in (2, 0, 1, 0, 2, 1)]
IDS = {"n02084071": 1, "n01440764": 2, "n01443537": 3, "n00001740": 4}  # the last: a group
DEVKIT = "ILSVRC2012_devkit_t12"


def tar_of(files: Iterable[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def devkit_files() -> dict[str, bytes]:
    fields = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("gloss", "O")]
    synsets = np.zeros(len(IDS), [*fields, ("num_children", "O")])
    for row, (wnid, number) in enumerate(IDS.items()):
        synsets[row] = (float(number), wnid, f"word {number}", "", float(wnid == "n00001740"))
    buffer = io.BytesIO()
    savemat(buffer, {"synsets": synsets.reshape(-1, 1)})
    truth = "".join(f"{IDS[wnid]}\n" for wnid in VAL_WNIDS)
    return {
        "ILSVRC2012_validation_ground_truth.txt": truth.encode(),
        "meta.mat": buffer.getvalue(),
    }


def write_devkit(root: Path) -> None:
    files = [(f"{DEVKIT}/data/{name}", data) for name, data in devkit_files().items()]
    with tarfile.open(root / f"{DEVKIT}.tar.gz", "w:gz") as tar:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    """The ImageFolder that everything must equal."""
    root = write(tmp_path / "unpacked", {f"train/{key}": data for key, data in TRAIN.items()})
    val = zip(VAL_WNIDS, VAL, strict=True)
    return write(root, {f"val/{wnid}/{name}": name.encode() for wnid, name in val})


@pytest.fixture
def official(tmp_path: Path) -> Path:
    root = tmp_path / "official"
    root.mkdir()
    # Members in no order; as in the real one, inner archives hold files without a folder.
    inner = [
        (
            f"{wnid}.tar",
            tar_of((key[10:], data) for key, data in TRAIN.items() if key.startswith(wnid)),
        )
        for wnid in reversed(WNIDS)
    ]
    (root / "ILSVRC2012_img_train.tar").write_bytes(tar_of(inner))
    val = tar_of((name, name.encode()) for name in reversed(VAL))
    (root / "ILSVRC2012_img_val.tar").write_bytes(val)
    write_devkit(root)
    return root


def require_equal(one: Path, other: Path, split: str) -> None:
    a, b = open_source(str(one), split), open_source(str(other), split)
    assert list(a.keys) == list(b.keys) and a.labels.tolist() == b.labels.tolist()
    assert a.classes == b.classes and a.digest == b.digest
    assert [a.read(i) for i in range(len(a))] == [b.read(i) for i in range(len(b))]
    for limit in (1, 4):
        one_limited, other_limited = (open_source(str(r), split, limit) for r in (one, other))
        assert one_limited.digest == other_limited.digest
        assert one_limited.read(limit - 1) == other_limited.read(limit - 1)


@pytest.mark.parametrize("split", ["train", "val"])
def test_the_official_tars_equal_the_unpacked_folders(
    unpacked: Path, official: Path, split: str
) -> None:
    require_equal(unpacked, official, split)
    source = pickle.loads(pickle.dumps(open_source(str(official), split)))
    key, data = {
        "train": ("n01440764/n01440764_10026.JPEG", TRAIN["n01440764/n01440764_10026.JPEG"]),
        "val": ("n01440764/ILSVRC2012_val_00000002.JPEG", VAL[1].encode()),
    }[split]
    assert (source.keys[0], source.read(0)) == (key, data)


def test_val_alone_has_the_classes_of_its_labels(official: Path) -> None:
    (official / "ILSVRC2012_img_train.tar").unlink()
    assert open_source(str(official), "val").classes == tuple(WNIDS)


def flat_csv(root: Path) -> None:
    rows = zip(VAL, VAL_WNIDS, strict=True)
    write(root, {"val.csv": "".join(f"{n}, {w}\r\n" for n, w in rows).encode()})


def flat_kaggle(root: Path) -> None:
    rows = zip(VAL, VAL_WNIDS, strict=True)
    lines = [f"{n[:-5]},{w} 1 2 30 40 {w} 5 6 7 8 \n" for n, w in rows]
    text = "ImageId,PredictionString\n" + "".join(reversed(lines))
    write(root, {"LOC_val_solution.csv": text.encode()})


def flat_beside(root: Path) -> None:
    write(root, devkit_files())


def flat_folder(root: Path) -> None:
    write(root / DEVKIT / "data", devkit_files())


@pytest.mark.parametrize(
    "add_labels", [flat_csv, flat_kaggle, flat_beside, flat_folder, write_devkit]
)
def test_a_flat_val_equals_class_folders(
    unpacked: Path, tmp_path: Path, add_labels: Callable[[Path], None]
) -> None:
    root = tmp_path / "flat"
    write(root, {f"train/{key}": data for key, data in TRAIN.items()})
    write(root, {f"val/{name}": name.encode() for name in VAL})
    add_labels(root)
    require_equal(unpacked, root, "val")


def test_labels_that_change_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "DATA", tmp_path / "data")
    monkeypatch.setattr("shared.images.kept_listing.FEWEST", 1)
    root = write(tmp_path / "root", {"val/a.jpg": b"", "val/b.jpg": b"", "val.csv": b"a,x\nb,y\n"})
    assert open_source(str(root), "val").labels.tolist() == [0, 1]
    write(root, {"val.csv": b"a,x\nb,xx\n"})
    assert open_source(str(root), "val").classes == ("x", "xx")


FLAT = {"train/x/1.jpg": b"", "train/y/1.jpg": b"", "val/a.jpg": b"", "val/b.jpg": b""}
BESIDE = (
    "{root}/val holds images outside class folders and no labels beside it: found none of val.csv, "
)


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({}, BESIDE + f"LOC_val_solution.csv, {DEVKIT}.tar.gz"),
        (
            {"val.csv": b"a.jpg,x\n"},
            "{root}/val.csv has no label for 1 of 2 images: b.jpg; add them, or remove the images",
        ),
        (
            {"val.csv": b"a.jpg,x\nb.jpg,z\n"},
            "1 labels are not classes of {root}/train: z; correct the file of labels",
        ),
        (
            {"val.csv": b"a.jpg,x\nb.jpg\n"},
            "line 2 of {root}/val.csv is 'b.jpg': write an image and a class, with a comma between",
        ),
        (
            {f"{DEVKIT}.tar.gz": b"no archive"},
            f"{{root}}/{DEVKIT}.tar.gz is not ImageNet's devkit: ",
        ),
        (
            {"ILSVRC2012_validation_ground_truth.txt": b"1\n2\n", "meta.mat": b"nonsense"},
            "ILSVRC2012_validation_ground_truth.txt and meta.mat of {root} are not ImageNet's: ",
        ),
    ],
)
def test_errors_of_flat_folders(tmp_path: Path, files: dict[str, bytes], text: str) -> None:
    root = write(tmp_path / "root", {**FLAT, **files})
    with pytest.raises(InputError) as caught:
        open_source(str(root), "val")
    expected = text.format(root=root)
    assert str(caught.value).startswith(expected) and "\n" not in str(caught.value)
    assert expected.endswith(": ") or str(caught.value) == expected


def damage_inner(data: bytes) -> bytes:
    """The checksum of the second header in the first inner tar."""
    place = data.index(b"n02084071_9.JPEG")
    return data[: place + 150] + b"9" + data[place + 151 :]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            damage_inner,
            "{path}: n02084071.tar is not a sound, uncompressed tar: no header at byte ",
        ),
        (lambda data: data[:20_000], "{path} is not a sound, uncompressed tar: a member of "),
        (lambda data: b"", "{path} is not a sound, uncompressed tar: it is empty"),
        (lambda data: b"x" * 2000, "{path} is not a sound, uncompressed tar: no header at byte 0"),
    ],
)
def test_a_damaged_archive(official: Path, change: Callable[[bytes], bytes], text: str) -> None:
    path = official / "ILSVRC2012_img_train.tar"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(InputError) as caught:
        open_source(str(official), "train")
    assert str(caught.value).startswith(text.format(path=path))
    assert "\n" not in str(caught.value)


def test_other_archives_are_refused(official: Path) -> None:
    path = official / "ILSVRC2012_img_train.tar"
    path.write_bytes(tar_of([("a.JPEG", b"")]))
    with pytest.raises(InputError) as caught:
        open_source(str(official), "train")
    assert str(caught.value) == (
        f"there is no tar in {path}: the training archive of ImageNet is a tar of tars, one a class"
    )
    path.write_bytes(tar_of([("n1.tar", tar_of([])), ("n2.tar", tar_of([("a.JPEG", b"")]))]))
    with pytest.raises(InputError, match=r"^1 of 2 classes in .* have no images: n1; an Im"):
        open_source(str(official), "train")


def test_a_tar_that_shrinks_after_it_was_listed(official: Path) -> None:
    source = open_source(str(official), "train")
    path = official / "ILSVRC2012_img_train.tar"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError) as caught:
        source.read(8)
    assert str(caught.value) == (
        f"{path} is shorter than when it was listed: it ends within sample 8; put it back, or "
        f"start again to have it listed again"
    )
    path.unlink()
    with pytest.raises(InputError, match=r"cannot be read: No such file"):
        source.read(8)
