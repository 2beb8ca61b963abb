"""The teacher: always in eval mode; a sample's targets are its own, or those of its batch."""

from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn

from shared.choices import TEACHER_PRECISIONS as PRECISIONS
from shared.errors import InputError
from shared.models.build import build_model, load_weights, weights_digest
from shared.pixels.normalise import NORMALISATIONS, Normalisation
from shared.targets.kinds import BY_STAGE, KINDS, kinds_asked
from shared.targets.targets import Targets, rows_of
from shared.targets.teacher import Teacher, load_teacher
from tests.helpers import write_teacher
from tests.said import said, stages_of

CPU = torch.device("cpu")
CLASSES = 5
IMAGENET = NORMALISATIONS["imagenet"]
BATCHES = (1, 2, 3, 5, 8, 13, 17, 32)


def make_teacher(
    architecture: str, stem: str | None = None, precision: str = "fp32", statistics: str = "eval"
) -> Teacher:
    """BatchNorm statistics are far from those of any batch: eval and train mode differ much."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # some weights of a ResNet-50 take float32 beyond the bounds below
        model = build_model(architecture, CLASSES, stem)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None and module.running_var is not None
                shape = module.running_mean.shape
                module.running_mean.copy_(torch.randn(shape, generator=generator) * 0.2)
                module.running_var.copy_(torch.rand(shape, generator=generator) + 1)
    return Teacher(model, IMAGENET, precision, statistics)


def random_pixels(rows: int, size: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (rows, 3, size, size), dtype=torch.uint8, generator=generator)


def assert_equal(targets: Targets, others: Targets, what: object = "") -> None:
    assert targets.keys() == others.keys() >= {"logits", "channels"}
    for name, values in targets.items():
        assert torch.equal(values, others[name]), (what, name)


def parts(teacher: Teacher, targets: Targets) -> tuple[Tensor, ...]:
    """Logits, and the channel means of each stage."""
    return (targets["logits"], *stages_of(targets, teacher.model.channels))


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


# ---- one sample's targets are its own


@pytest.mark.parametrize(
    ("architecture", "stem", "size", "precision"),
    [
        ("resnet18", "imagenet", 32, "fp32"),
        ("resnet34", "imagenet", 32, "fp32"),
        ("resnet18", "cifar", 16, "fp32"),
        ("cifar_resnet20", "cifar", 32, "fp32"),
        ("cifar_resnet20", "cifar", 32, "bf16"),
        ("resnet50", "imagenet", 32, "fp32"),
        ("resnet18", "imagenet", 96, "fp32"),
        ("resnet18", "imagenet", 32, "bf16"),
    ],
)
def test_targets_do_not_depend_on_batch_mates(
    architecture: str, stem: str, size: int, precision: str
) -> None:
    """Bit for bit, whatever the number, the order and the kind of the others (CPU); every kind."""
    teacher = make_teacher(architecture, stem, precision)
    kinds = kinds_asked(",".join([*KINDS, *BY_STAGE]), len(teacher.model.channels))
    pixels = random_pixels(32, size)

    def said(pixels: Tensor) -> Targets:
        return teacher(pixels, kinds)  # type: ignore[no-any-return]

    whole = said(pixels)
    assert set(whole) == set(kinds) and len(kinds) == 4 + 2 * len(teacher.model.channels)
    assert all(part.std() > 1e-3 for part in parts(teacher, whole))
    for rows in BATCHES:
        assert_equal(said(pixels[:rows]), rows_of(whole, slice(rows)), f"first {rows}")
    for rows in (3, 13):
        assert_equal(said(pixels[-rows:]), rows_of(whole, slice(-rows, None)), f"last {rows}")
    for seed in range(2):
        order = torch.randperm(32, generator=torch.Generator().manual_seed(seed))
        assert_equal(said(pixels[order]), rows_of(whole, order), order)
    others = random_pixels(7, size, seed=1) // 255 * 255  # only black and white
    mixed = said(torch.cat([others, pixels[:5]]))
    assert_equal(rows_of(mixed, slice(7, 12)), rows_of(whole, slice(5)))


def test_a_model_in_train_mode_does_depend_on_batch_mates() -> None:
    """Negative control of the test above, and why a live train-mode teacher cannot be cached."""
    model = make_teacher("resnet18").model.train()
    x = IMAGENET(random_pixels(8, 32))
    with torch.no_grad():
        whole, _ = model(x)
        part, _ = model(x[:4])
    assert (whole[:4] - part).abs().max() > 1e-3


def test_one_pixel_changes_its_own_row_only() -> None:
    teacher = make_teacher("resnet18")
    pixels = random_pixels(6, 32)
    before = teacher(pixels)
    pixels[2, 0, 16, 16] ^= 128
    after = teacher(pixels)
    others = torch.tensor([0, 1, 3, 4, 5])
    assert_equal(rows_of(after, others), rows_of(before, others))
    for mine, theirs in zip(parts(teacher, after), parts(teacher, before), strict=True):
        assert not torch.equal(mine[2], theirs[2])


# ---- the statistics of the batch


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


@pytest.mark.parametrize("architecture", ["resnet18", "resnet50"])
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
    heads = torch.cat([teacher.model.head(part) for part in padded.split(16)])
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


# ---- what it says


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("architecture", ["resnet18", "resnet50", "cifar_resnet20"])
def test_logits_are_the_head_of_the_last_means(architecture: str, precision: str) -> None:
    teacher = make_teacher(architecture, precision=precision)
    # Rows in whole sixteens, so that the head here runs on the rows that it ran on there.
    targets = teacher(random_pixels(16, 32))
    last = stages_of(targets, teacher.model.channels)[-1]
    assert torch.equal(targets["logits"], teacher.model.head(last))


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
        logits, stages = teacher.model(IMAGENET(pixels))
    assert torch.equal(targets["logits"], logits)
    means = stages_of(targets, teacher.model.channels)
    for mean, stage in zip(means, stages, strict=True):
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


# ---- normalisation


def test_normalisation_is_its_formula() -> None:
    every = torch.arange(256, dtype=torch.uint8)
    pixels = torch.stack([every, every.flip(0), every.roll(7)])[None, :, None, :]
    x = IMAGENET(pixels)
    assert x.shape == pixels.shape
    assert x.dtype == torch.float32
    mean = torch.tensor([0.485, 0.456, 0.406], dtype=torch.float64).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225], dtype=torch.float64).view(1, 3, 1, 1)
    expected = (pixels.double() / 255 - mean) / std
    assert (x.double() - expected).abs().max() < 1e-6


def test_normalisation_of_a_pixel_depends_on_it_alone() -> None:
    normalisation = Normalisation((0.5, 0.4, 0.3), (0.3, 0.2, 0.1))
    pixels = random_pixels(5, 17)
    whole = normalisation(pixels)
    assert torch.equal(whole[2:3, :, 3:4], normalisation(pixels[2:3, :, 3:4]))
    contiguous = normalisation(pixels.to(memory_format=torch.channels_last))
    assert torch.equal(whole, contiguous)
    swapped = Normalisation((0.3, 0.4, 0.5), (0.1, 0.2, 0.3))
    assert torch.equal(swapped(pixels.flip(1)), whole.flip(1))


def test_the_teacher_normalises_as_told() -> None:
    teacher = make_teacher("resnet18")
    other = Teacher(teacher.model, Normalisation((0.5,) * 3, (0.5,) * 3), "fp32")
    pixels = random_pixels(16, 32)
    with torch.no_grad():
        logits, _ = teacher.model(pixels.float() / 127.5 - 1)
    torch.testing.assert_close(other(pixels)["logits"], logits, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(other(pixels)["logits"], teacher(pixels)["logits"], rtol=1e-2)


# ---- from files


def test_load_teacher_is_the_file(tmp_path: Path) -> None:
    write_teacher(tmp_path / "teacher.pt", "resnet18", CLASSES, stem="cifar")
    weights = str(tmp_path / "teacher.pt")
    teacher = load_teacher("resnet18", "cifar", CLASSES, weights, IMAGENET, "fp32", CPU)
    model = build_model("resnet18", CLASSES, "cifar")
    load_weights(model, weights)
    pixels = random_pixels(16, 32)
    with torch.no_grad():
        live, _ = model.train()(IMAGENET(pixels))
        expected, _ = model.eval()(IMAGENET(pixels))
    assert not torch.allclose(live, expected, atol=1e-3)  # the file's eval and train mode differ
    # The line above moved the statistics of `model`, not of the teacher.
    load_weights(model, weights)
    with torch.no_grad():
        expected, _ = model.eval()(IMAGENET(pixels))
    assert torch.equal(teacher(pixels)["logits"], expected)
    with pytest.raises(InputError, match=r"does not fit resnet18 with stem imagenet"):
        load_teacher("resnet18", "imagenet", CLASSES, weights, IMAGENET, "fp32", CPU)
