"""What a view takes in memory, who is told, and which codecs fit, at ImageNet's sizes."""

from dataclasses import replace

import pytest

from shared.epochs import windows
from shared.epochs.windows import Epochs
from shared.records.manifest import Manifest
from shared.store import view_memory as module
from shared.store.view_memory import memory_problem, view_memory, what_fits
from tests.small_cache import make_manifest

GB = 10**9
STAGES = (64, 128, 256, 512)


def imagenet(samples: int, classes: int, codec: str = "half", store: str = "zarr") -> Manifest:
    manifest = make_manifest(samples, 8192, 2, codec, store, STAGES)
    return replace(manifest, teacher=replace(manifest.teacher, classes=classes))


SMALL = imagenet(1_281_167, 1000)
LARGE = imagenet(14_197_122, 21_841)


def test_imagenet_fits_as_a_whole() -> None:
    view = view_memory(SMALL)
    assert view.row == 2 * (1000 + 960)
    assert view.is_whole and view.view == 1_281_167 * 3920
    assert 1.15 * view.view < view.resident < 1.2 * view.view
    assert memory_problem(SMALL, 25 * GB) is None
    assert view_memory(SMALL, {"logits"}).row == 2000


def test_a_view_of_21_841_classes_does_not_and_the_codec_that_fits_is_named() -> None:
    view = view_memory(LARGE)
    assert view.row == 45_602 and not view.is_whole
    problem = memory_problem(LARGE, 512 * GB)
    assert problem == (
        "the targets of 14,197,122 images with codec half take 647 GB a view (45,602 bytes an "
        "image), and training keeps at most 17.2 GB in memory: it goes through a view in windows "
        "of 2.7 % of it"
    )
    assert what_fits(LARGE, 512 * GB) == (
        "what fits: --codec tiny (13.9 GB a view), --format webdataset, which is streamed"
    )
    assert view.resident < 1.2 * module.WINDOW


def test_a_machine_may_be_too_small_for_a_whole_view() -> None:
    problem = memory_problem(SMALL, 5 * GB)
    assert problem is not None
    assert problem.endswith("5.83 GB with what is read ahead, and this machine has 5 GB of memory")
    assert what_fits(SMALL, 5 * GB).startswith("what fits: --codec compact (2.46 GB a view), --cod")


def test_view_shards_are_streamed() -> None:
    view = view_memory(imagenet(14_197_122, 21_841, store="webdataset"))
    assert (view.is_streamed, view.is_whole, view.resident) == (True, True, 0)
    assert memory_problem(imagenet(14_197_122, 21_841, store="webdataset"), GB) is None


def test_codecs_that_cannot_hold_the_targets_are_not_named() -> None:
    facts = replace(LARGE.teacher, linear=False)
    assert "--codec" not in what_fits(replace(LARGE, teacher=facts), 512 * GB)
    assert "--codec" not in what_fits(replace(LARGE, targets=("logits",)), 512 * GB)


@pytest.mark.parametrize("most", [100, 200, 399, 400, 401, 10**6])
def test_says_windows_where_training_makes_them(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """10 samples in blocks of 4, 34 bytes each: 408 for three blocks."""
    manifest = make_manifest(10, 4)
    monkeypatch.setattr(windows, "MOST_BYTES", most)
    fields = manifest.encoding.needed({"logits", "channels"})
    epochs = Epochs(manifest, windows.np.arange(10), fields, 2, 0)
    row = view_memory(manifest).row
    assert module.fits_whole(3, 4 * row, most) == (epochs.piece_rows is None)
