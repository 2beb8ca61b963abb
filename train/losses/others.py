"""The classes other than a sample's label, for losses that treat the label on its own.

Shapes: B samples, C classes; labels are (B,) int64.
"""

import torch
from torch import Tensor
from torch.nn.functional import log_softmax


def is_label(logits: Tensor, labels: Tensor) -> Tensor:
    """(B, C) bool: whether a class is the sample's label."""
    found = torch.zeros(logits.shape, dtype=torch.bool, device=logits.device)
    return found.scatter_(1, labels[:, None], True)


def others(logits: Tensor, label: Tensor) -> Tensor:
    """float32 logits that are -inf at the label, whose softmax is that of the other classes."""
    return logits.float().masked_fill(label, -torch.inf)


def log_softmax_of_others(logits: Tensor, label: Tensor) -> Tensor:
    """Logarithms of the softmax over the other classes, and 0 at the label, so that a product with
    a probability stays finite there."""
    return log_softmax(others(logits, label), dim=1).masked_fill(label, 0.0)
