"""How images are made for a network: as its library documents it, unless flags say otherwise."""

from pathlib import Path
from typing import Any

import pytest
from torchvision.models import get_model_weights

from precompute.chosen_teacher import choose_teacher
from precompute.flags import make_parser
from shared.choices import ARCHITECTURES, TORCHVISION
from shared.errors import InputError
from shared.images.source import ImageSource, open_source
from shared.models.preparation import Preparation, preparation_of, tagged
from shared.pixels.normalise import NORMALISATIONS
from shared.pixels.view import shorter_side
from train.eval import make_parser as eval_parser
from train.network_facts import facts_of_network

timm = pytest.importorskip("timm")
IMAGENET = NORMALISATIONS["imagenet"]
PUBLISHED = [name for name in (*ARCHITECTURES, *TORCHVISION) if not name.startswith("cifar_")]


def test_of_every_weights_of_torchvision() -> None:
    """Size, resized side, interpolation and normalisation are those of weights.transforms()."""
    seen = set()
    for name in PUBLISHED:
        for weights in get_model_weights(name):
            how, theirs = preparation_of(name, "imagenet", weights.name), weights.transforms()
            assert how.size == theirs.crop_size[0]
            assert shorter_side(how.size, how.crop) == theirs.resize_size[0]
            assert how.interpolation == theirs.interpolation.value
            assert [*how.normalisation.mean] == theirs.mean
            assert [*how.normalisation.std] == theirs.std
            seen.add((how.size, theirs.resize_size[0], how.interpolation))
    assert (224, 256, "bilinear") in seen and (224, 232, "bilinear") in seen
    assert (384, 384, "bicubic") in seen


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("test_resnet", "default"),
        ("test_vit", "default"),
        ("resnet18", "default"),
        ("resnet18", "tv_in1k"),
        ("resnet18.fb_swsl_ig1b_ft_in1k", "default"),
        ("resnet18.a1_in1k", "file.pt"),
        ("mobilenetv3_small_050", "default"),
        ("mambaout_femto", "default"),
    ],
)
def test_of_timms_networks(name: str, weights: str) -> None:
    how = preparation_of(f"timm/{name}", "imagenet", weights)
    full = f"{name.partition('.')[0]}.{weights}" if weights == "tv_in1k" else name
    theirs: Any = timm.models.get_pretrained_cfg(full)
    assert how.size == theirs.input_size[-1]
    assert how.normalisation.mean == theirs.mean and how.normalisation.std == theirs.std
    assert how.interpolation == theirs.interpolation
    assert shorter_side(how.size, how.crop) == int(how.size / theirs.crop_pct)


def test_the_side_is_timms_for_every_published_configuration() -> None:
    for name in timm.list_pretrained():
        given: Any = timm.models.get_pretrained_cfg(name)
        size = given.input_size[-1]
        side = int(size / given.crop_pct)
        assert shorter_side(size, size / side) == side, name


def test_a_tag_stands_for_a_name_with_it() -> None:
    assert tagged("resnet18", "tv_in1k") == "resnet18.tv_in1k"
    assert tagged("resnet18.a1_in1k", "tv_in1k") == "resnet18.tv_in1k"
    assert tagged("resnet18.a1_in1k", "default") == "resnet18.a1_in1k"
    assert tagged("resnet18", "weights.pt") == "resnet18"
    assert tagged("local-dir:/resnet18", "tv_in1k") == "local-dir:/resnet18"


@pytest.mark.parametrize(
    ("name", "stem", "size"),
    [
        ("resnet18", "imagenet", None),
        ("resnet18", "cifar", 32),
        ("cifar_resnet20", "cifar", 32),
        ("swin_t", "imagenet", None),
        ("net.py:make", "imagenet", None),
    ],
)
def test_weights_of_ones_own_have_the_usual_preparation(
    name: str, stem: str, size: int | None
) -> None:
    assert preparation_of(name, stem, "w.pt") == Preparation(size, NORMALISATIONS[stem])


# ---- flags


@pytest.fixture
def source(image_folder: Path) -> ImageSource:
    return open_source(str(image_folder), "train")


def chosen(source: ImageSource, *flags: str) -> Preparation:
    arguments = ["--split", "train", "--targets", "channels", *flags]
    choice, how = choose_teacher(make_parser("", ()).parse_args(arguments), source)
    assert (choice.size, choice.normalisation) == (how.size, how.normalisation)
    return how


def test_flags_come_before_the_library(source: ImageSource) -> None:
    vit = ("--teacher", "timm/test_vit")
    usual = chosen(source, *vit)
    assert (usual.size, usual.interpolation) == (160, "bicubic")
    assert usual.normalisation.mean == (0.5, 0.5, 0.5)
    flags = ("--size", "64", "--mean", "0.1,0.2,0.3", "--interpolation", "bilinear")
    how = chosen(source, *vit, *flags, "--crop", "1")
    assert (how.size, how.interpolation, how.crop) == (64, "bilinear", 1)
    assert how.normalisation.mean == (0.1, 0.2, 0.3)
    assert how.normalisation.std == usual.normalisation.std  # what no flag says stays
    assert chosen(source, *vit, "--std", "1, 2,3e-1").normalisation.std == (1, 2, 0.3)


def test_what_nothing_says(source: ImageSource) -> None:
    how = chosen(source, "--teacher", "swin_t", "--weights", "w.pt")
    assert how == Preparation(224, IMAGENET)


BAD = [
    *(("--mean", value, "three numbers, ") for value in ("0.5", "0.5,0.5", "a,b,c", "", "nan,0,0",
      "0,inf,0", "0.5,0.5,0.5,0.5", "1;2;3")),
    *(("--std", value, "three numbers above 0, ") for value in ("0.5", "0,1,1", "1,-1,1",
      "1,1,nan")),
]  # fmt: skip


@pytest.mark.parametrize(("flag", "value", "rule"), BAD)
def test_colours_that_are_none(flag: str, value: str, rule: str, source: ImageSource) -> None:
    with pytest.raises(InputError) as caught:
        chosen(source, f"{flag}={value}")
    assert str(caught.value) == (
        f"{flag} must be {rule}one a colour, like 0.5,0.5,0.5: got {value}"
    )


@pytest.mark.parametrize(
    "flag", ["--crop=0", "--crop=-0.5", "--crop=1.01", "--crop=nan", "--size=0", "--size=-3"]
)
def test_a_crop_or_size_that_is_none(flag: str, source: ImageSource) -> None:
    """Of precompute/run.py and of train/eval.py."""
    rule = "above 0 and at most 1" if "crop" in flag else "1 or more"
    text = f"{flag[:6]} must be {rule}: got "
    with pytest.raises(InputError, match=text):
        chosen(source, flag)
    evaluated = ["--checkpoint", "w.pt", "--student", "swin_t", flag]
    with pytest.raises(InputError, match=text):
        facts_of_network(eval_parser().parse_args(evaluated), 3, None)


def test_an_interpolation_that_is_none(source: ImageSource) -> None:
    with pytest.raises(InputError, match="--interpolation has no choice 'cubic': did you mean b"):
        chosen(source, "--interpolation", "cubic")
