"""A network of one's own: the CIFAR ResNets of github.com/akamaster/pytorch_resnet_cifar10, whose
shortcuts have no parameters (He et al. 2015, arXiv 1512.03385, option A).

    python train/eval.py --student tests/own_networks/akamaster.py:resnet56 \\
        --checkpoint resnet56-4bfd9763.th --images cifar10
"""

from torch import Tensor, nn
from torch.nn.functional import pad, relu


class Block(nn.Module):
    def __init__(self, width: int, wanted: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, wanted, 3, wanted // width, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(wanted)
        self.conv2 = nn.Conv2d(wanted, wanted, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(wanted)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(relu(self.bn1(self.conv1(x)))))
        if y.shape != x.shape:  # every second pixel, and zeros for the channels that are missing
            missing = (y.shape[1] - x.shape[1]) // 2
            x = pad(x[:, :, ::2, ::2], (0, 0, 0, 0, missing, missing))
        return relu(y + x)


class Network(nn.Module):
    def __init__(self, blocks: int, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        stages = ((16, 16), (16, 32), (32, 64))
        self.layer1, self.layer2, self.layer3 = (
            nn.Sequential(Block(width, wanted), *(Block(wanted, wanted) for _ in range(blocks - 1)))
            for width, wanted in stages
        )
        self.linear = nn.Linear(64, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean(dim=(2, 3)))


def resnet20(num_classes: int = 10) -> nn.Module:
    return Network(3, num_classes)


def resnet56(num_classes: int = 10) -> nn.Module:
    return Network(9, num_classes)
