"""What does not fit together is refused with the line that train/run.py prints, and bad arguments
with a line of their own."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.cache import InputError, TeacherCache
from tests.helpers import STUDENT, run_train, turn_upside_down, write_image_folder
from tests.python_api.conftest import CLASSES, SAMPLES, Made


def copied(made: Made, store: str, to: Path) -> tuple[Path, Path]:
    """A cache of its own, and its images."""
    shutil.copytree(made(store), to / "cache")
    shutil.copytree(made(store).parent / "images", to / "images")
    return to / "cache", to / "images"


def changed_images(cache: Path, images: Path) -> None:
    for path in (images / "train").rglob("0*.jpg"):
        turn_upside_down(path)


def other_images(cache: Path, images: Path) -> None:
    shutil.rmtree(images)
    write_image_folder(images, CLASSES, SAMPLES // CLASSES - 1, 2)


def damaged(cache: Path, images: Path) -> None:
    shards = cache.glob("train/shards/*.tar")
    path = min((*shards, *cache.glob("train/targets.zarr/logits/c/0/0/*")))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def incomplete(cache: Path, images: Path) -> None:
    max(cache.glob("train/receipts/v*-b*.json")).unlink()


ZARR = [changed_images, other_images, damaged, incomplete]
CASES = [("zarr", harm) for harm in ZARR] + [("webdataset", damaged), ("webdataset", incomplete)]


@pytest.mark.parametrize(("name", "harm"), CASES)
def test_as_the_command_does(
    made: Made, tmp_path: Path, name: str, harm: Callable[[Path, Path], None]
) -> None:
    cache, images = copied(made, name, tmp_path)
    harm(cache, images)
    flags = ("--images", images, "--workers", 0, "--batch-size", 8, "--epochs", 1)
    done = run_train("--cache", cache, *STUDENT, *flags, "--out", tmp_path / "run", check=False)
    assert done.returncode == 2
    with pytest.raises(InputError) as caught:
        list(TeacherCache(cache, images=images).loader(epoch=0, batch_size=8))
    assert f"error: {caught.value}" in done.stderr.splitlines()
    with pytest.raises(InputError):
        TeacherCache(cache, images=images).dataset()


def test_no_cache(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--cache must hold train/manifest\.json: .* not exist"):
        TeacherCache(tmp_path / "none")


BAD = [
    ({"epoch": -1}, "epoch must be a whole number of 0 or more: got -1"),
    ({"epoch": 0.5}, "epoch must be a whole number of 0 or more: got 0.5"),
    ({"batch_size": 0}, "batch_size must be a whole number of 1 or more: got 0"),
    ({"epochs": 0}, "epochs must be a whole number of 1 or more: got 0"),
    ({"start": 6}, "start must be a step of epoch 0, which has 5: got 6"),
    ({"rank": 1}, "rank and world_size go together: give both, or none of them"),
    ({"rank": 2, "world_size": 2}, "rank and world_size must be 0 <= rank < world_size: got 2"),
    ({"targets": ["logit"]}, "there is no kind of targets called 'logit': did you mean logits?"),
    ({"targets": ["attention1"]}, "targets=['attention1'] needs attention1, which "),
    ({"workers": -1}, "workers must be a whole number of 0 or more: got -1"),
    ({"device": "tpu"}, "device tpu cannot be used here"),
]


@pytest.mark.parametrize(("arguments", "line"), BAD)
def test_bad_arguments(made: Made, arguments: dict[str, object], line: str) -> None:
    loader: Callable[..., object] = TeacherCache(made("zarr")).loader
    with pytest.raises(InputError) as caught:
        loader(**{"epoch": 0, "batch_size": 8, **arguments})
    assert str(caught.value).startswith(line) and "\n" not in str(caught.value)


def test_views_and_view(made: Made) -> None:
    with pytest.raises(InputError, match=r"^views must be at most 3, as .*zarr/train has: got 4$"):
        TeacherCache(made("zarr"), views=4)
    with pytest.raises(InputError, match=r"^view must be below 2, the views of this cache: 2$"):
        TeacherCache(made("zarr"), views=2).dataset(view=2)


def test_processes_that_are_not_connected(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match="one of 2 processes, and they are not connected: call"):
        TeacherCache(made("zarr")).loader(epoch=0, batch_size=8)
