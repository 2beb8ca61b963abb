"""Networks of a user's own, for FILE.py:FUNCTION."""

from torch import Tensor, nn
from torchvision.models import SwinTransformer


class OwnNetwork(nn.Module):
    """Its forward calls its method `stages`."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 12, 5, 4, 2), nn.BatchNorm2d(12), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(12, 20, 3, 2, 1), nn.BatchNorm2d(20), nn.SiLU())
        self.head = nn.Sequential(nn.Linear(20, 24), nn.Tanh(), nn.Dropout())
        self.last = nn.Linear(24, num_classes)

    def stages(self, x: Tensor) -> list[Tensor]:
        first = self.first(x)
        return [first, self.second(first)]

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(self.head(self.stages(x)[-1].amax(dim=(2, 3))))
        return logits


def make(num_classes: int) -> nn.Module:
    return OwnNetwork(num_classes)


def swin(num_classes: int) -> nn.Module:
    """Without a method `stages`: they are found. Maps come as (B, H, W, C)."""
    return SwinTransformer(
        *([4, 4], 24, [2, 2], [2, 4], [4, 4]), stochastic_depth_prob=0.2, num_classes=num_classes
    )
