"""`cifar_resnet8` to `cifar_resnet110`: the small networks for images of 32 px (He et al. 2015,
arXiv 1512.03385, section 4.2), with the names of torchvision's ResNets in their state dicts."""

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from shared.models.plain_resnet import PlainResNet

# Blocks a stage: of two convolutions each, in three stages; with the first convolution and the
# linear layer these are the layers that the name counts.
CIFAR_RESNETS = {f"cifar_resnet{6 * blocks + 2}": blocks for blocks in (1, 2, 3, 5, 7, 9, 18)}


class CifarResNet(PlainResNet):
    """Three stages of 16, 32 and 64 channels for images of 32 px.

    Where the width changes the shortcut is a 1x1 convolution with BatchNorm. The paper's own has
    no parameters there (option A); both are in use, and their weights do not fit each other.
    """

    def __init__(self, architecture: str, num_classes: int) -> None:
        super().__init__()
        blocks = CIFAR_RESNETS[architecture]
        self.conv1 = nn.Conv2d(3, 16, kernel_size=3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = _cifar_stage(16, 16, blocks)
        self.layer2 = _cifar_stage(16, 32, blocks)
        self.layer3 = _cifar_stage(32, 64, blocks)
        self.fc = nn.Linear(64, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.channels = (16, 32, 64)
        self.stride = 4
        self._finish(architecture, num_classes, "cifar")

    def enter(self, x: Tensor) -> Tensor:
        entered: Tensor = self.relu(self.bn1(self.conv1(x)))
        return entered

    @property
    def layers(self) -> tuple[nn.Module, ...]:
        return self.layer1, self.layer2, self.layer3


def _cifar_stage(width: int, wanted: int, blocks: int) -> nn.Sequential:
    shortcut = None
    if width != wanted:
        shortcut = nn.Sequential(
            nn.Conv2d(width, wanted, kernel_size=1, stride=2, bias=False), nn.BatchNorm2d(wanted)
        )
    first = BasicBlock(width, wanted, wanted // width, shortcut)
    return nn.Sequential(first, *(BasicBlock(wanted, wanted) for _ in range(blocks - 1)))
