"""Each operation gives the pixels of torchvision's own, with the same parameters."""

from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import CutMix, RandAugment
from torchvision.transforms.v2 import functional as theirs

from shared.pixels.augment import augmented, draw_erasing, draw_jitter, draw_noise
from shared.pixels.augmentation import Augmentation
from shared.pixels.mix import PURPOSE, Mix, _levels, draw_mix, mixed
from shared.pixels.rand_augment import NAMES, apply_operation, draw_operations
from shared.pixels.words import words

SIZES = (32, 57)


def view(size: int, seed: int = 0) -> Tensor:
    """(3, size, size) uint8: a gradient and noise, channels last in memory as real views."""
    generator = np.random.default_rng(seed)
    slope = np.linspace(0, 150, size)[None, :, None]
    pixels = np.clip(slope + generator.integers(0, 106, (size, size, 3)), 0, 255)
    return torch.from_numpy(pixels.astype(np.uint8)).permute(2, 0, 1)


def test_operations_are_torchvisions() -> None:
    assert set(NAMES) == set(RandAugment._AUGMENTATION_SPACE)


def strength(name: str, magnitude: int, size: int) -> float | None:
    """What torchvision passes to an operation, where it computes in float32."""
    known = RandAugment._AUGMENTATION_SPACE[name][0](31, size, size)
    if known is None:
        return None
    exact = {"ShearX": 0.01, "ShearY": 0.01, "Rotate": 1.0}.get(name, 0.03) * magnitude
    if name.startswith("Translate"):
        exact = 150 / 331 * size * magnitude / 30
    elif name == "Solarize":
        exact = 1 - magnitude / 30
    elif name == "Posterize":
        exact = float(known[magnitude])
    assert exact == pytest.approx(float(known[magnitude]), rel=1e-5, abs=1e-6)
    return exact


@pytest.mark.parametrize("name", NAMES)
def test_rand_augment_at_every_magnitude(name: str) -> None:
    transform = RandAugment(interpolation=InterpolationMode.BILINEAR)
    signed = RandAugment._AUGMENTATION_SPACE[name][1]
    changed = 0
    for size, magnitude, negative in product(SIZES, range(31), (False, True)):
        value = strength(name, magnitude, size) or 0.0
        expected = transform._apply_image_or_video_transform(
            view(size),
            name,
            -value if negative and signed else value,
            interpolation=InterpolationMode.BILINEAR,
            fill=transform._fill,
        )
        found = apply_operation(view(size), name, magnitude, negative)
        # An angle or a factor that differs in its last bits may round a few pixels otherwise.
        errors = (found.int() - expected.int()).abs()
        assert errors.max() <= 1 and errors.count_nonzero() <= 0.002 * errors.numel()
        changed += not torch.equal(found, view(size))
    assert changed > 50 or name == "Identity"


def test_jitter_applies_the_drawn_factors_in_the_drawn_order() -> None:
    strengths = (0.4, 0.3, 0.5, 0.1)
    adjust = (
        theirs.adjust_brightness,
        theirs.adjust_contrast,
        theirs.adjust_saturation,
        theirs.adjust_hue,
    )
    for index in range(30):
        drawn = draw_jitter(3, 1, index, strengths)
        expected = view(32, index)
        for which in drawn.order:
            expected = adjust[which](expected, drawn.factors[which])
        found = augmented(Augmentation(jitter=strengths), view(32, index), 3, 1, index)
        assert torch.equal(found, expected)


def test_a_strength_of_0_leaves_pixels_alone() -> None:
    how = Augmentation(jitter=(0.0, 0.0, 0.0, 0.0), erasing=0.0)
    assert torch.equal(augmented(how, view(32), 0, 0, 0), view(32))


def test_erased_pixels_are_the_drawn_noise() -> None:
    erased = 0
    for index in range(30):
        pixels = view(32, index)
        found = augmented(Augmentation(erasing=0.5), pixels, 0, 2, index)
        box = draw_erasing(0, 2, index, 0.5, 32)
        if box is None:
            assert torch.equal(found, pixels)
        else:
            erased += 1
            noise = draw_noise(0, 2, index, *box[2:])
            assert torch.equal(found, theirs.erase(pixels, *box, noise))
            assert torch.equal(pixels, view(32, index)), "its input changed"
    assert 5 < erased < 25


def test_parts_are_applied_in_their_order() -> None:
    how = Augmentation((0.4, 0.4, 0.4, 0.1), (2, 9), 1.0)
    expected = augmented(Augmentation(jitter=how.jitter), view(57), 1, 2, 3)
    for name, negative in draw_operations(1, 2, 3, 2):
        expected = apply_operation(expected, name, 9, negative)
    expected = augmented(Augmentation(erasing=1.0), expected, 1, 2, 3)
    assert torch.equal(augmented(how, view(57), 1, 2, 3), expected)


@pytest.mark.parametrize("level", [0, 1, 100, 128, 255])
def test_mixup_is_the_weighted_mean(level: int) -> None:
    own, partner = view(32, 1), view(32, 2)
    found = mixed(Mix(0, level / 256, None), own, partner)
    exact = own.double() * (level / 256) + partner.double() * (1 - level / 256)
    assert found.dtype == torch.uint8
    assert (found.double() - exact).abs().max() <= 0.5


def test_cutmix_cuts_torchvisions_rectangle(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision's own transform, given the share and the centre that were drawn here."""
    how, transform = Augmentation(cutmix=1.0), CutMix(num_classes=2)
    cut = 0
    for index in range(40):
        mix = draw_mix(how, 0, 0, index, 100, 57)
        level, centre = _drawn_cut(index, 57)
        monkeypatch.setattr(
            transform._dist, "sample", lambda shape, level=level: torch.tensor(level / 256)
        )
        numbers = iter(centre)
        monkeypatch.setattr(
            torch, "randint", lambda most, size, numbers=numbers: torch.tensor([next(numbers)])
        )
        own, partner = view(57, 1), view(57, 2)
        params = transform.make_params([torch.stack([own, partner])])
        left, top, right, bottom = params["box"]
        if mix is None:
            assert (bottom - top) * (right - left) == 0
            continue
        cut += 1
        assert mix.box == (top, left, bottom, right)
        assert mix.share == pytest.approx(params["lam_adjusted"])
        expected = own.clone()
        expected[:, top:bottom, left:right] = partner[:, top:bottom, left:right]
        assert torch.equal(mixed(mix, own, partner), expected)
    assert cut > 30


def _drawn_cut(index: int, size: int) -> tuple[int, tuple[int, int]]:
    """(share in 256ths, (column, row) of the centre), from the words as documented in mix.py."""

    _, _, quantile, row, column = words(0, PURPOSE, 0, index, 5).tolist()
    level = _levels(1.0)[quantile * 4096 >> 64]
    return level, (column * size >> 64, row * size >> 64)
