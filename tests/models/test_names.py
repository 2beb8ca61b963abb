"""What a network may be called, and what is said of a name that is none."""

import pytest

from shared.choices import ARCHITECTURES, TORCHVISION
from shared.errors import InputError
from shared.models.names import ModelName, is_name, parse_name

KNOWN = {
    "resnet34": ModelName("plain", "resnet34"),
    "cifar_resnet110": ModelName("plain", "cifar_resnet110"),
    "swin_t": ModelName("torchvision", "swin_t"),
    "resnext50_32x4d": ModelName("torchvision", "resnext50_32x4d"),
    "timm/resnet34": ModelName("timm", "resnet34"),
    "timm/vit_small_patch16_224.augreg_in1k": ModelName(
        "timm", "vit_small_patch16_224.augreg_in1k"
    ),
    "hf-hub:timm/resnet18.a1_in1k": ModelName("timm", "hf-hub:timm/resnet18.a1_in1k"),
    "hf-hub:owner/name@v1": ModelName("timm", "hf-hub:owner/name@v1"),
    "local-dir:/models/mine": ModelName("timm", "local-dir:/models/mine"),
    "net.py:make": ModelName("own", "net.py", "make"),
    "/a b/my-net.py:make": ModelName("own", "/a b/my-net.py", "make"),
    "../x.y/net.py:Net": ModelName("own", "../x.y/net.py", "Net"),
    "C:/nets/net.py:make": ModelName("own", "C:/nets/net.py", "make"),
    "package.module:make": ModelName("own", "package.module", "make"),
    "module:make": ModelName("own", "module", "make"),
}


@pytest.mark.parametrize("text", KNOWN)
def test_every_kind_of_name(text: str) -> None:
    assert parse_name(text) == KNOWN[text]
    assert is_name(text)


def test_bare_names_stay_torchvisions() -> None:
    for name in (*ARCHITECTURES, *TORCHVISION):
        plain = name in ARCHITECTURES
        assert parse_name(name) == ModelName("plain" if plain else "torchvision", name)


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("resnet33", "resnet34"),
        ("ResNet34", "resnet34"),
        ("resnet-50", "resnet50"),
        ("cifar_resnet_20", "cifar_resnet20"),
        ("swin", "swin_t"),
        ("convnext_tinny", "convnext_tiny"),
        ("mobilenetv3_small", "mobilenet_v3_small"),
        ("vit_b16", "vit_b_16"),
    ],
)
def test_a_near_miss_gets_a_suggestion(text: str, near: str) -> None:
    assert refused(text) == (
        f"there is no network called {text!r}: did you mean {near}? A name is a torchvision "
        f"classifier, cifar_resnet8 to cifar_resnet110, timm/NAME, hf-hub:OWNER/NAME, "
        f"local-dir:FOLDER or FILE.py:FUNCTION"
    )


ODD = [
    "", " ", ".", "..", ":", "::", "/", "timm", "timm/", "timm/ ", "torchvision/resnet18",
    "hf-hub:", "hf-hub: ", "local-dir:", ":make", "net.py:a.b",
    "net.py:make()", "net.py:1", "a..b:make", ".a:make", "a-b:make", "1a:make", "a b:make",
    "resnet18\n", "resnet18 ", "x" * 5000, ":" * 5000, "a." * 2500 + "b", "\0", "é:é:é",
]  # fmt: skip


@pytest.mark.parametrize("text", ODD, ids=lambda text: repr(text[:20]))
def test_an_odd_name_is_refused_in_one_short_line(text: str) -> None:
    line = refused(text)
    assert line.startswith("there is no network called ") and "\n" not in line
    assert len(line) < 600
    assert not is_name(text)


@pytest.mark.parametrize("text", ["net.py", "net.py:", "../a b/net.py"])
def test_a_file_without_its_function(text: str) -> None:
    file = text.rstrip(":")
    assert refused(text) == (
        f"{text} names a file, but not its function that returns the network: give {file}:FUNCTION"
    )


@pytest.mark.parametrize("value", [None, 5, ["resnet18"], {"resnet18": 1}, b"resnet18"])
def test_a_value_that_is_no_text_is_no_name(value: object) -> None:
    assert not is_name(value)


def refused(text: str) -> str:
    with pytest.raises(InputError) as caught:
        parse_name(text)
    return str(caught.value)
