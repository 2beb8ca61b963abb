"""Targets of logits and channel means, as tests write them: with the stages apart."""

from collections.abc import Sequence

import torch
from torch import Tensor

from shared.targets.targets import Targets


def said(logits: Tensor, stages: Sequence[Tensor] = ()) -> dict[str, Tensor]:
    """(B, C) logits and (B, C_s) means a stage; without stages there are no channels."""
    targets = {"logits": logits}
    if stages:
        targets["channels"] = torch.cat(list(stages), dim=1)
    return targets


def stages_of(targets: Targets, widths: Sequence[int]) -> tuple[Tensor, ...]:
    """The channel means, (B, C_s) a stage; `widths` are the C_s."""
    return targets["channels"].split(list(widths), dim=1)
