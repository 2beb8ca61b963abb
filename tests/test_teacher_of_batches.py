"""A teacher that uses the statistics of its batch: the targets of train mode, and nothing moves."""

import pytest
import torch
import torchvision
from torch import Tensor, nn

from shared.choices import TEACHER_PRECISIONS as PRECISIONS
from shared.models.build import build_model
from shared.models.weights import weights_digest
from shared.targets.targets import Targets, rows_of
from shared.targets.teacher import Teacher
from tests.said import said, stages_of
from tests.teachers import CLASSES, IMAGENET, assert_equal, make_teacher, parts, random_pixels


def slow_train_mode(model: nn.Module, architecture: str, pixels: Tensor) -> Targets:
    """torchvision's own network in train mode, in float64. Its statistics move."""
    slow = getattr(torchvision.models, architecture)(num_classes=CLASSES).double()
    slow.load_state_dict(model.state_dict())
    outputs: list[Tensor] = []
    for layer in (slow.layer1, slow.layer2, slow.layer3, slow.layer4):
        layer.register_forward_hook(lambda module, given, output: outputs.append(output))
    mean = torch.tensor([0.485, 0.456, 0.406], dtype=torch.float64).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225], dtype=torch.float64).view(1, 3, 1, 1)
    with torch.no_grad():
        logits = slow.train()((pixels.double() / 255 - mean) / std)
    assert not torch.equal(slow.bn1.running_mean, model.bn1.running_mean.double())
    return said(logits, [output.mean((2, 3)) for output in outputs])


def assert_near(teacher: Teacher, targets: Targets, others: Targets, tolerance: float) -> None:
    """To this share of the largest number of the logits, and of each stage's means."""
    for mine, theirs in zip(parts(teacher, targets), parts(teacher, others), strict=True):
        assert (mine.double() - theirs.double()).abs().max() < tolerance * theirs.abs().max()


@pytest.mark.parametrize(
    "architecture", [pytest.param("resnet18", marks=pytest.mark.slow), "resnet50"]
)
@pytest.mark.parametrize("rows", [10, 19, 32])  # of padding to 32 rows, 19 would show every row
def test_batch_statistics_are_those_of_torchvision_in_train_mode(
    architecture: str, rows: int
) -> None:
    teacher = make_teacher(architecture, statistics="batch")
    pixels = random_pixels(rows, 64) // 2 + 40  # far from 0, which rows of padding would be
    targets = teacher(pixels)
    expected = slow_train_mode(teacher.model, architecture, pixels)
    assert_near(teacher, targets, expected, 1e-4)
    assert_equal(teacher(pixels), targets, "a second time")
    # Negative controls: eval mode, and a smaller batch of the same images.
    with pytest.raises(AssertionError):
        assert_near(teacher, make_teacher(architecture)(pixels), expected, 0.05)
    with pytest.raises(AssertionError):
        assert_near(teacher, teacher(pixels[:-3]), rows_of(expected, slice(-3)), 0.01)


def test_batch_statistics_move_nothing_and_read_no_running_statistics() -> None:
    teacher = make_teacher("cifar_resnet20", statistics="batch")
    model = build_model("cifar_resnet20", CLASSES)
    model.load_state_dict(teacher.model.state_dict())
    before, names = weights_digest(model), list(teacher.state_dict())
    assert weights_digest(teacher.model) == before
    pixels = random_pixels(19, 32)
    targets = teacher(pixels)
    assert weights_digest(teacher.model) == before and list(teacher.state_dict()) == names
    assert not any(module.training for module in teacher.train().modules())
    with torch.no_grad():
        for name, value in teacher.state_dict().items():
            if "running_" in name:
                value.fill_(float("nan"))
    assert_equal(teacher(pixels), targets)


def test_dropout_rests_with_batch_statistics() -> None:
    teacher = make_teacher("resnet18", statistics="batch")
    pixels = random_pixels(8, 32)
    before = teacher(pixels)
    model = teacher.model
    model.relu = nn.Sequential(model.relu, nn.Dropout(0.5))
    assert_equal(Teacher(model, IMAGENET, "fp32", "batch")(pixels), before)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_logits_are_the_head_of_the_last_means_with_batch_statistics(precision: str) -> None:
    teacher = make_teacher("cifar_resnet20", precision=precision, statistics="batch")
    targets = teacher(random_pixels(19, 32))
    assert targets["logits"].shape == (19, CLASSES)
    last = stages_of(targets, teacher.model.channels)[-1]
    padded = nn.functional.pad(last, (0, 0, 0, 13))
    heads = torch.cat([teacher.model.fc(part) for part in padded.split(16)])
    assert torch.equal(targets["logits"], heads[:19])


def test_batch_statistics_do_not_depend_on_the_number_of_threads() -> None:
    """torchrun gives each process one, a command alone has all. batch_norm itself does depend."""
    teacher = make_teacher("cifar_resnet20", statistics="batch")
    pixels = random_pixels(40, 32)
    before = torch.get_num_threads()
    expected = teacher(pixels)
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            assert_equal(teacher(pixels), expected, threads)
    finally:
        torch.set_num_threads(before)
