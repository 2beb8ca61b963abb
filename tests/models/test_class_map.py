"""--classes FILE: which of a teacher's classes those of the images are."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.functional import linear

from precompute.chosen_teacher import read_class_map
from shared.errors import InputError
from shared.images.source import ImageSource, open_source
from shared.pixels.normalise import NORMALISATIONS
from shared.targets.teacher import Teacher, TeacherChoice, load_teacher
from tests.models.made import images, made
from tests.networks import randomised, save, staged

IMAGENET = NORMALISATIONS["imagenet"]
LINES = "class0 5\nclass1 0\nclass2 3\n"


@pytest.fixture
def source(image_folder: Path) -> ImageSource:
    return open_source(str(image_folder), "train")  # class0, class1, class2


def read(folder: Path, text: str, source: ImageSource) -> tuple[int, ...]:
    (folder / "classes.txt").write_text(text)
    return read_class_map(folder / "classes.txt", source)


@pytest.mark.parametrize(
    "text",
    [
        LINES,
        "class2 3\n\nclass0 5\nclass1 0",
        "# a comment\n  class0\t5  \r\nclass1   0\nclass2 3\n\n",
        f"{LINES}class9 7\n",  # others than the images have
        f"{LINES}class9 0\n",  # or of the same number
    ],
)
def test_numbers_are_in_the_order_of_the_images_classes(
    tmp_path: Path, source: ImageSource, text: str
) -> None:
    assert read(tmp_path, text, source) == (5, 0, 3)


def test_a_name_may_have_spaces(tmp_path: Path, source: ImageSource) -> None:
    dogs = replace(source, classes=("English springer", "dog 7"))
    assert read(tmp_path, "dog 7 2\nEnglish springer 217\n", dogs) == (217, 2)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("class0 5\nclass1\nclass2 3\n", "line 2 of --classes {path} is 'class1': it must be"),
        ("class0 5\nclass1 -1\nclass2 3\n", "line 2 of --classes {path} is 'class1 -1': it must"),
        ("class0 5\nclass1 1.0\nclass2 3\n", "line 2 of --classes {path} is 'class1 1.0': it must"),
        ("class0 five\n", "line 1 of --classes {path} is 'class0 five': it must be the name of a"),
        ("5\n", "line 1 of --classes {path} is '5': it must be the name of a class of the images"),
        ("class0 ٣\n", "line 1 of --classes {path} is 'class0 ٣': it must be the name of a class"),
        ("class0 " + "9" * 5000, "line 1 of --classes {path} is 'class0 99999999999"),
        ("class0 5\nclass0 4\n", "line 2 of --classes {path} is 'class0 4': it must be the name"),
        ("class0 5\nclass2 3\n", "--classes {path} lacks 1 of the 3 classes of {spec}, first "
         "'class1': add a line for each"),
        ("", "--classes {path} lacks 3 of the 3 classes of {spec}, first 'class0': add a line"),
        ("class0 5\nclass1 5\nclass2 3\n", "--classes {path} gives two classes one number: cor"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_map(tmp_path: Path, source: ImageSource, text: str, line: str) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, text, source)
    found = str(caught.value)
    assert "\n" not in found and len(found) < 500
    assert found.startswith(line.format(path=tmp_path / "classes.txt", spec=source.spec))


def test_a_file_that_cannot_be_read(tmp_path: Path, source: ImageSource) -> None:
    for path in (tmp_path, tmp_path / "nothing.txt"):
        with pytest.raises(InputError, match=r"cannot be read: .*; give a text file"):
            read_class_map(path, source)
    (tmp_path / "bytes").write_bytes(b"class0 5\n\xff\xfe 1")
    with pytest.raises(InputError, match=r"cannot be read: .*; give a text file"):
        read_class_map(tmp_path / "bytes", source)


@pytest.mark.parametrize("name", ["cifar_resnet20", "mobilenet_v3_small", "squeezenet1_1"])
def test_the_logits_are_those_columns_in_that_order(name: str) -> None:
    """And so is the head from which they are derived."""
    columns = (5, 0, 3)
    if name == "cifar_resnet20":
        model = staged(name, 7).eval()
        model.load_state_dict(randomised(model))
    else:
        model = made(name)
    whole = Teacher(model, IMAGENET, "fp32")
    some = Teacher(model, IMAGENET, "fp32", class_map=columns)
    pixels = (images(rows=5) * 64 + 128).clamp(0, 255).to(torch.uint8)
    kinds = ("channels", "embedding")
    mine, theirs = some(pixels, kinds), whole(pixels, kinds)
    assert (whole.classes, some.classes) == (7, 3)
    assert torch.equal(mine["logits"], theirs["logits"][:, columns])
    assert all(torch.equal(mine[kind], theirs[kind]) for kind in kinds)
    assert some.facts(64).classes == 3
    head, all_of_it = some.head, whole.head
    if name == "squeezenet1_1":
        assert head is None and all_of_it is None
        return
    assert head is not None and all_of_it is not None
    assert torch.equal(head.weight, all_of_it.weight[list(columns)])
    assert torch.equal(head.bias, all_of_it.bias[list(columns)])
    logits = linear(mine["embedding"], head.weight, head.bias)
    assert torch.allclose(logits, mine["logits"], atol=1e-4)


def test_a_number_that_the_teacher_does_not_have(tmp_path: Path) -> None:
    weights = save(tmp_path / "w.pt", randomised(staged("cifar_resnet20", 7)))
    choice = TeacherChoice("cifar_resnet20", "cifar", None, weights, 32, IMAGENET)
    assert load_teacher(replace(choice, class_map=(6, 0)), torch.device("cpu")).classes == 2
    with pytest.raises(InputError) as caught:
        load_teacher(replace(choice, class_map=(0, 7, 2)), torch.device("cpu"))
    assert str(caught.value) == (
        "--classes names class 7, and cifar_resnet20 has 7, counted from 0: correct it"
    )
