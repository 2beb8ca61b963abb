"""The teacher: always in eval mode; its targets are what their names say, its weights a file's."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from shared.choices import TEACHER_PRECISIONS as PRECISIONS
from shared.errors import InputError
from shared.models.build import build_model
from shared.models.weights import load_weights
from shared.targets.teacher import Teacher, TeacherChoice, load_teacher
from tests.helpers import write_teacher
from tests.said import stages_of
from tests.teachers import (
    BATCHES,
    CLASSES,
    IMAGENET,
    assert_equal,
    make_teacher,
    parts,
    random_pixels,
)

CPU = torch.device("cpu")


# ---- eval mode


def test_train_leaves_the_teacher_and_all_in_it_in_eval_mode() -> None:
    teacher = make_teacher("resnet18")
    parent = nn.Sequential(nn.BatchNorm1d(3), nn.ModuleDict({"teacher": teacher}))
    before = teacher(random_pixels(4, 32))
    for put_in_train_mode in (teacher.train, parent.train, lambda: teacher.train(True)):
        put_in_train_mode()
        assert not any(module.training for module in teacher.modules())
    assert parent.training and parent[0].training  # the others obey
    assert_equal(teacher(random_pixels(4, 32)), before)
    assert teacher.train() is teacher


def test_a_model_in_train_mode_is_put_in_eval_mode_and_frozen() -> None:
    model = build_model("resnet18", CLASSES).train()
    teacher = Teacher(model, IMAGENET, "fp32")
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_train_mode_behind_its_back_is_our_own_mistake() -> None:
    teacher = make_teacher("resnet18")
    teacher.model.train()
    with pytest.raises(AssertionError, match="train mode"):
        teacher(random_pixels(2, 32))


def test_forward_changes_nothing_in_the_teacher() -> None:
    teacher = make_teacher("resnet18")
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    teacher.train()
    teacher(random_pixels(9, 32))
    after = teacher.state_dict()
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert torch.equal(value, after[name]), name
    # Negative control: a model in train mode does move its statistics.
    teacher.model.train()(torch.randn(4, 3, 32, 32))
    assert not torch.equal(teacher.model.bn1.running_mean, before["model.bn1.running_mean"])


# ---- what it says


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("architecture", ["resnet18", "resnet50", "cifar_resnet20"])
def test_logits_are_the_head_of_the_last_means(architecture: str, precision: str) -> None:
    teacher = make_teacher(architecture, precision=precision)
    # Rows in whole sixteens, so that the head here runs on the rows that it ran on there.
    targets = teacher(random_pixels(16, 32))
    last = stages_of(targets, teacher.model.channels)[-1]
    assert torch.equal(targets["logits"], teacher.model.fc(last))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_shapes_and_dtypes(precision: str) -> None:
    teacher = make_teacher("resnet18", precision=precision)
    for rows in BATCHES:
        targets = teacher(random_pixels(rows, 32))
        shapes = {name: values.shape for name, values in targets.items()}
        assert shapes == {"logits": (rows, CLASSES), "channels": (rows, 64 + 128 + 256 + 512)}
        assert {values.dtype for values in targets.values()} == {torch.float32}


def test_targets_are_the_means_of_the_stages() -> None:
    teacher = make_teacher("resnet18")
    pixels = random_pixels(16, 64)
    targets = teacher(pixels)
    with torch.no_grad():
        run = teacher.model.run(IMAGENET(pixels))
    assert torch.equal(targets["logits"], run.logits)
    means = stages_of(targets, teacher.model.channels)
    for mean, stage in zip(means, run.stages, strict=True):
        slow = stage.double().sum(dim=(2, 3)) / (stage.shape[2] * stage.shape[3])
        torch.testing.assert_close(mean.double(), slow, rtol=1e-5, atol=1e-6)


def test_bf16_is_near_fp32_and_not_it() -> None:
    pixels = random_pixels(16, 32)
    exact = make_teacher("resnet18")
    near = make_teacher("resnet18", precision="bf16")
    near.load_state_dict(exact.state_dict())
    _, *means = parts(near, near(pixels))
    _, *expected = parts(exact, exact(pixels))
    for mine, theirs in zip(means, expected, strict=True):
        assert not torch.equal(mine, theirs)
        assert (mine - theirs).abs().max() < 0.05 * theirs.abs().max()


def test_targets_serve_in_a_students_autograd() -> None:
    """They carry no graph, and are no inference tensors, which autograd refuses to save."""
    targets = make_teacher("resnet18")(random_pixels(4, 32))
    for tensor in targets.values():
        assert not tensor.requires_grad
        assert not tensor.is_inference()
    logits = torch.randn(4, CLASSES, requires_grad=True)
    means = torch.randn(4, 960, requires_grad=True)
    kd = nn.functional.kl_div(
        logits.log_softmax(1), targets["logits"].softmax(1), reduction="batchmean"
    )
    # A product saves the other factor for its backward pass.
    (kd + (means * targets["channels"]).sum()).backward()
    expected = (logits.softmax(1) - targets["logits"].softmax(1)) / 4
    torch.testing.assert_close(logits.grad, expected.detach())
    assert torch.equal(means.grad, targets["channels"])


# ---- from files


def test_load_teacher_is_the_file(tmp_path: Path) -> None:
    write_teacher(tmp_path / "teacher.pt", "resnet18", CLASSES, stem="cifar")
    weights = str(tmp_path / "teacher.pt")
    choice = TeacherChoice("resnet18", "cifar", CLASSES, weights, 32, IMAGENET)
    teacher = load_teacher(choice, CPU)
    model = build_model("resnet18", CLASSES, "cifar")
    load_weights(model, weights)
    pixels = random_pixels(16, 32)
    with torch.no_grad():
        live = model.train()(IMAGENET(pixels))
        expected = model.eval()(IMAGENET(pixels))
    assert not torch.allclose(live, expected, atol=1e-3)  # the file's eval and train mode differ
    # The line above moved the statistics of `model`, not of the teacher.
    load_weights(model, weights)
    with torch.no_grad():
        expected = model.eval()(IMAGENET(pixels))
    assert torch.equal(teacher(pixels)["logits"], expected)
    with pytest.raises(InputError, match=r"does not fit resnet18 with stem imagenet"):
        load_teacher(replace(choice, stem="imagenet"), CPU)
