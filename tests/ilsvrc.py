"""ImageNet in small, as users have it: official tars, the devkit, and the same in folders."""

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

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
