"""A sample's targets are its own, whoever else is in the batch."""

import pytest
import torch
from torch import Tensor

from shared.targets.kinds import BY_STAGE, KINDS, kinds_asked
from shared.targets.targets import Targets, rows_of
from tests.teachers import BATCHES, IMAGENET, assert_equal, make_teacher, parts, random_pixels


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
        whole = model(x)
        part = model(x[:4])
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
