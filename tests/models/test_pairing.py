"""Which stages meet, and what connects them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from shared.errors import InputError
from shared.models.staged import channel_means
from tests.models.made import images, made
from train.batch import Met
from train.pairing import pair_stages
from train.student import Student

some = st.integers(0, 12)


@given(some, some)
def test_stages_meet_from_the_last_backwards(teacher: int, student: int) -> None:
    pairs = pair_stages(None, teacher, student)
    assert len(pairs) == min(teacher, student)
    if pairs:
        assert pairs[-1] == (teacher - 1, student - 1)
        assert 0 in pairs[0]
    assert {t - s for t, s in pairs} <= {teacher - student}


@pytest.mark.parametrize(
    ("asked", "pairs"),
    [
        ("2:1,3:2,4:3", ((1, 0), (2, 1), (3, 2))),
        (" 1:1 , 4:3 ", ((0, 0), (3, 2))),
        ("4:1", ((3, 0),)),
        ("01:3", ((0, 2),)),
    ],
)
def test_pairs_that_are_named(asked: str, pairs: object) -> None:
    assert pair_stages(asked, 4, 3) == pairs


BAD = [
    "", ",", "1", "1:", ":1", "1:1,", "1-1", "1:1;2:2", "0:1", "1:0", "5:1", "1:4", "2:2,1:1",
    "1:1,1:2", "1:1,2:1", "1:1,1:1", "-1:1", "1:1:1", "a:b", "1.0:1", "٣:1", "1000:1",
    "9" * 5000 + ":1",
]  # fmt: skip


@pytest.mark.parametrize("asked", BAD, ids=lambda text: text[:20])
def test_pairs_that_are_none(asked: str) -> None:
    with pytest.raises(InputError) as caught:
        pair_stages(asked, 4, 3)
    text = str(caught.value)
    assert text.startswith(
        "--stages must be rising pairs TEACHER:STUDENT like 2:1,3:2,4:3, of 4 and 3 stages: got "
    )
    assert "\n" not in text and len(text) < 400


def kinds(student: Student) -> list[list[type[nn.Module]]]:
    return [[type(layer) for layer in connector] for connector in student.connectors]  # type: ignore[union-attr]


def widths(student: Student) -> list[tuple[int, int]]:
    return [tuple(connector[0].weight.shape[:2]) for connector in student.connectors]  # type: ignore[index,union-attr]


def test_connectors_follow_the_widths() -> None:
    """Three stages of a teacher meet the last three of four."""
    student = Student(made("mobilenet_v3_small"), (10, 20, 30)).eval()
    assert widths(student) == [(10, 24), (20, 48), (30, 576)]
    assert kinds(student) == [[nn.Conv2d, nn.BatchNorm2d, nn.ReLU]] * 3
    with torch.no_grad():
        outputs = student(images())
        run = student.backbone.run(images())
    assert outputs.met is None and torch.equal(outputs.logits, run.logits)
    assert [tuple(mean.shape) for mean in outputs.channels] == [(3, 10), (3, 20), (3, 30)]
    for connector, maps, mean in zip(
        student.connectors, run.stages[1:], outputs.channels, strict=True
    ):
        assert torch.equal(mean, channel_means(connector(maps)))


def test_a_teacher_that_can_be_negative_is_met_without_relu() -> None:
    student = Student(made("mobilenet_v3_small"), (10, 20, 30), signed=True).eval()
    assert kinds(student) == [[nn.Conv2d, nn.BatchNorm2d]] * 3
    with torch.no_grad():
        assert all((mean < 0).any() for mean in student(images()).channels)
        plain = Student(made("mobilenet_v3_small"), (10, 20, 30)).eval()
        assert all((mean >= 0).all() for mean in plain(images()).channels)


def test_of_a_teacher_with_more_stages_some_are_met() -> None:
    student = Student(made("mobilenet_v3_small"), (5, 6, 7, 8, 9)).eval()
    assert widths(student) == [(6, 16), (7, 24), (8, 48), (9, 576)]
    assert student(images()).met == Met((1, 2, 3, 4), (5, 6, 7, 8, 9))


def test_stages_meet_as_they_are_told_to() -> None:
    pairs = pair_stages("1:2,4:3", 4, 4)
    student = Student(made("mobilenet_v3_small"), (5, 6, 7, 8), pairs).eval()
    assert widths(student) == [(5, 24), (8, 48)]
    outputs = student(images())
    assert outputs.met == Met((0, 3), (5, 6, 7, 8))
    assert [mean.shape[1] for mean in outputs.channels] == [5, 8]


@pytest.mark.parametrize("size", [32, 64, 96])
def test_map_sizes_do_not_matter(size: int) -> None:
    """The means of channels have no pixels, so maps of other sizes need no pooling."""
    student = Student(made("mobilenet_v3_small", size), (4, 4)).eval()
    assert [tuple(mean.shape) for mean in student(images(size)).channels] == [(3, 4), (3, 4)]


@pytest.mark.parametrize("name", ["timm/test_vit", "timm/test_convnext", "mobilenet_v3_small"])
def test_gradients_reach_every_layer_before_the_last_stage_that_is_met(name: str) -> None:
    if name.startswith("timm/"):
        pytest.importorskip("timm")
    student = Student(made(name), (4, 4)).train()
    sum(mean.square().sum() for mean in student(images()).channels).backward()  # type: ignore[union-attr]
    without = [key for key, value in student.named_parameters() if value.grad is None]
    network = student.backbone.network
    after = {"timm/test_vit": ("norm.", "head."), "timm/test_convnext": ("head.",)}
    heads = after.get(name, ("classifier.",))
    named = [key for key, _ in network.named_parameters() if key.startswith(heads)]
    assert sorted(key.removeprefix("backbone._network.") for key in without) == sorted(named)
