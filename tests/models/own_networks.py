"""Networks of a user's own, for tests: written as files, so that FILE.py:FUNCTION can name them."""

from pathlib import Path

PLAIN = """
import torch
from torch import nn


class Small(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.low = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.high = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU())
        self.fc = nn.Linear(16, num_classes)

    def forward(self, x):
        return self.fc(self.high(self.low(x)).mean((2, 3)))


def small(num_classes):
    return Small(num_classes)


class Staged(Small):
    def stages(self, x):
        low = self.low(x)
        return [low, self.high(low)]

    def forward(self, x):
        return self.fc(self.stages(x)[-1].mean((2, 3)))


def staged(num_classes):
    return Staged(num_classes)
"""


def write_network(folder: Path, more: str = "", name: str = "net.py") -> Path:
    """The networks above, and what a test adds to it."""
    (folder / name).write_text(PLAIN + more)
    return folder / name
