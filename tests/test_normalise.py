"""Normalisation: its formula, pixel by pixel, and the teacher's own."""

import torch

from shared.pixels.normalise import Normalisation
from shared.targets.teacher import Teacher
from tests.teachers import IMAGENET, make_teacher, random_pixels


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
        logits = teacher.model(pixels.float() / 127.5 - 1)
    torch.testing.assert_close(other(pixels)["logits"], logits, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(other(pixels)["logits"], teacher(pixels)["logits"], rtol=1e-2)
