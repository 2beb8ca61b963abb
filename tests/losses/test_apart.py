"""A relational loss in two real processes is that of one, to 1e-6, with its gradients."""

from pathlib import Path

import torch

from tests.loss_cases import random_case
from tests.losses.apart import with_gradients
from tests.processes import finish, start_world
from train.losses import DIST, Loss

RELATIONAL: list[Loss] = [DIST(), DIST(0.5, 2.0, 4.0)]


def test_two_processes_are_one(tmp_path: Path) -> None:
    """Of 7 samples the first has 5 and the second 2."""
    student, batch = random_case(seed=9, samples=7)
    sizes = (5, 2)
    torch.save((RELATIONAL, student, batch, sizes), tmp_path / "case")
    finish(start_world(2, "tests/losses/apart.py", tmp_path / "case", tmp_path / "rank"))
    ranks = [torch.load(tmp_path / f"rank{rank}", weights_only=True) for rank in (0, 1)]
    whole = with_gradients(RELATIONAL, student, batch)
    for (value, gradients), *parts in zip(whole, *ranks, strict=True):
        for own, _ in parts:
            assert abs(own - value) < 1e-6 * max(1, abs(value))
        for name, gradient in gradients.items():
            found = torch.cat([own[name] for _, own in parts])
            assert (found - gradient).abs().max() < 1e-6 * max(1, gradient.abs().max())
        assert gradients["logits"].any()
