"""`resnet18` to `resnet152`: torchvision's, with exactly its parameters, so that state dicts go
both ways."""

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from shared.models.plain_resnet import PlainResNet

RESNETS: dict[str, tuple[type[BasicBlock] | type[Bottleneck], list[int]]] = {
    "resnet18": (BasicBlock, [2, 2, 2, 2]),
    "resnet34": (BasicBlock, [3, 4, 6, 3]),
    "resnet50": (Bottleneck, [3, 4, 6, 3]),
    "resnet101": (Bottleneck, [3, 4, 23, 3]),
    "resnet152": (Bottleneck, [3, 8, 36, 3]),
}


class StagedResNet(PlainResNet, ResNet):  # type: ignore[misc]  # torchvision has no type hints
    """One of torchvision's. The stem `cifar` is the usual one for 32 px: 3x3 stride 1, no
    max-pool."""

    def __init__(self, architecture: str, num_classes: int, stem: str = "imagenet") -> None:
        block, depths = RESNETS[architecture]
        ResNet.__init__(self, block, depths, num_classes=num_classes)
        if stem == "cifar":
            self.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
            nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
            self.maxpool = nn.Identity()
        self.channels = tuple(width * block.expansion for width in (64, 128, 256, 512))
        self.stride = 32 if stem == "imagenet" else 8
        self._finish(architecture, num_classes, stem)

    def enter(self, x: Tensor) -> Tensor:
        entered: Tensor = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return entered

    @property
    def layers(self) -> tuple[nn.Module, ...]:
        layers: tuple[nn.Module, ...]
        layers = self.layer1, self.layer2, self.layer3, self.layer4  # type: ignore[assignment]
        return layers
