"""Whether a sample's targets depend on its batch-mates or on its pixels' layout, family by family.

The ResNets are in tests/test_batch_mates.py, with more batches.
"""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from precompute.batch_mates import rows_of
from shared.models.build import build_model
from shared.targets.targets import Targets
from shared.targets.teacher import Teacher
from tests.any_network.cases import BY_NAME, Case
from tests.any_network.plain_network import plain
from tests.teachers import IMAGENET, random_pixels

KINDS = ("logits", "channels", "embedding")
IMAGES = 64
NEAR = 1e-6  # of a row's largest number; measured: 3.3e-7
# Their last attention has one query an image.
CLASS_ATTENTION = ("timm/test_vit3", "timm/cait_xxs24_224", "timm/xcit_nano_12_p16_224")
EXACT = ("timm/test_vit",)
SLOWLY_EXACT = (
    *("mobilenet_v3_small", "shufflenet_v2_x0_5", "squeezenet1_1", "timm/test_convnext"),
    *("timm/test_nfnet", "timm/mobilenetv4_conv_small_035"),
    *("swin_t", "swin_v2_t", "vit_b_32", "convnext_tiny", "densenet121", "efficientnet_b0"),
    *("regnet_y_400mf", "mnasnet0_5", "googlenet", "alexnet", "resnext50_32x4d"),
    *("timm/resnetv2_50", "timm/mobilenetv4_hybrid_medium", "timm/ghostnet_100"),
    *("timm/deit_tiny_distilled_patch16_224", "timm/swin_tiny_patch4_window7_224"),
    *("timm/test_efficientnet_evos", "timm/test_efficientnet_gn", "timm/test_mambaout"),
    *("timm/hrnet_w18_small", "timm/regnety_002", "timm/test_byobnet", "timm/test_vit2"),
    *("timm/test_coatnet", "timm/test_maxvit", "timm/levit_128s"),
)


def teacher_of(case: Case) -> Teacher:
    model = build_model(case.name, 10, size=case.size)
    model.network.load_state_dict(plain(case).state_dict())
    return Teacher(model, IMAGENET, "fp32")


def pairs(teacher: Teacher, pixels: Tensor) -> Iterator[tuple[Targets, Targets]]:
    """(what it says of images in other batches, what it says of them in one batch of all).

    On two threads: which of them gets a row is what can change its bits.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    whole = teacher(pixels, KINDS)
    generator = torch.Generator().manual_seed(0)
    for rows in (1, 3, 7, 16, 33, IMAGES):
        index = torch.randperm(len(pixels), generator=generator)[:rows]
        other = teacher(pixels[index], KINDS)
        yield other, {name: values[index] for name, values in whole.items()}
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    "name", [*EXACT, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOWLY_EXACT)]
)
def test_a_family_that_is_exact(name: str) -> None:
    if name.startswith("timm/"):
        pytest.importorskip("timm")
    teacher = teacher_of(BY_NAME[name])
    size = BY_NAME[name].size
    for other, whole in pairs(teacher, random_pixels(IMAGES, size)):
        for kind in KINDS:
            assert torch.equal(other[kind], whole[kind]), kind
    assert rows_of(teacher, size) == "exact"


@pytest.mark.parametrize(
    "name",
    [name if "test_" in name else pytest.param(name, marks=pytest.mark.slow)
     for name in CLASS_ATTENTION],
)  # fmt: skip
def test_class_attention_is_near(name: str) -> None:
    pytest.importorskip("timm")
    teacher = teacher_of(BY_NAME[name])
    size = BY_NAME[name].size
    for other, whole in pairs(teacher, random_pixels(IMAGES, size)):
        assert torch.equal(other["channels"], whole["channels"])  # of blocks before it
        for kind in ("logits", "embedding"):
            scale = whole[kind].abs().amax(1, keepdim=True)
            assert ((other[kind] - whole[kind]).abs() <= NEAR * scale).all(), kind
    assert rows_of(teacher, size) == "near"
    assert torch.get_num_threads() == 1, "rows_of leaves it as it was"


def test_the_layout_of_the_pixels_does_not_matter() -> None:
    """It did for NFNets: precompute gives pixels channels last, and verify does not."""
    pytest.importorskip("timm")
    teacher = teacher_of(BY_NAME["timm/test_nfnet"])
    pixels = random_pixels(7, 64)
    mine = teacher(pixels, KINDS)
    theirs = teacher(pixels.contiguous(memory_format=torch.channels_last), KINDS)
    assert all(torch.equal(mine[kind], theirs[kind]) for kind in KINDS)
