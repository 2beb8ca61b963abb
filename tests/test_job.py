"""From flags to a job: what is refused before anything is downloaded or computed."""

import argparse
from pathlib import Path

import pytest

from precompute import job
from precompute.flags import add_flags
from precompute.job import make_job
from shared.errors import InputError


def parse(*flags: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return parser.parse_args(["--split", "train", *map(str, flags)])


@pytest.mark.parametrize(
    ("images", "classes", "how"),
    [
        ("imagenette", 10, "--recipe resnet18.ce --student resnet34 --out runs/teacher"),
        ("cifar10", 10, "--recipe cifar.resnet50.ce --student resnet34 --out runs/teacher"),
        ("cifar100", 100, "then give --weights runs/teacher/best.pt --stem cifar"),
    ],
)
@pytest.mark.parametrize("weights", [None, "IMAGENET1K_V1"])
def test_weights_of_a_thousand_classes_are_refused_before_a_download(
    monkeypatch: pytest.MonkeyPatch, images: str, classes: int, how: str, weights: str | None
) -> None:
    def opened(*arguments: object) -> None:
        raise AssertionError("the source was opened, which downloads it")

    monkeypatch.setattr(job, "open_source", opened)
    flags = ["--images", images, *(["--weights", weights] if weights else [])]
    with pytest.raises(InputError) as error:
        make_job(parse(*flags))
    expected = f"know ImageNet's 1000 classes, and {images} has {classes}: train a teacher first"
    assert expected in str(error.value) and how in str(error.value)


def test_the_users_own_classes_are_told_from_imagenets(image_folder: Path) -> None:
    with pytest.raises(
        InputError, match="IMAGENET1K_V1 know ImageNet's 1000 classes, and .* has 3"
    ):
        make_job(parse("--images", image_folder))
