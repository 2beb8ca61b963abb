"""uint8 pixels to what a network reads. On the device, so that loaders carry one byte a value."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Normalisation:
    """(pixel / 255 - mean) / std per channel, RGB."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __call__(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 -> float32, same shape and device.

        One multiply and one add: scale and shift are folded in float64 first, so that every caller
        gets the same bits from the same pixels.
        """
        scale = torch.tensor([1 / (255 * std) for std in self.std]).view(1, 3, 1, 1)
        shift = torch.tensor([-m / s for m, s in zip(self.mean, self.std, strict=True)])
        return torch.addcmul(
            shift.view(1, 3, 1, 1).to(pixels.device, non_blocking=True),
            pixels.float(),
            scale.to(pixels.device, non_blocking=True),
        )


# By stem. ImageNet's is what every torchvision weight was trained with; CIFAR's is that of the
# paper's code (cifar_train.py: mean and deviation of the training pixels, out of 255).
NORMALISATIONS = {
    "imagenet": Normalisation(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    "cifar": Normalisation(
        mean=(125.3 / 255, 123.0 / 255, 113.9 / 255), std=(63.0 / 255, 62.1 / 255, 66.7 / 255)
    ),
}
