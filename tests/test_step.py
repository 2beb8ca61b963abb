"""One optimizer step: in pieces, as its log tells it, and one that overflows."""

import math
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.amp import GradScaler

from shared.distributed import World
from tests.said import said
from train.batch import Batch
from train.optimizer import make_optimizer
from train.recipes import get_recipe
from train.step import train_step
from train.student import Student, StudentChoice, build_student
from train.sums import means, step_sums

CLASSES, CHANNELS = 5, (16, 32, 64)
RECIPE = get_recipe("s_resnet18.t_resnet34.cd.ce.kdv2")  # every kind of loss, all with a weight


def make_batch(rows: int) -> tuple[Tensor, Batch]:
    generator = torch.Generator().manual_seed(rows)
    channels = tuple(torch.rand(rows, width, generator=generator) for width in CHANNELS)
    batch = Batch(
        labels=torch.randint(CLASSES, (rows,), generator=generator),
        targets=said(torch.randn(rows, CLASSES, generator=generator), channels),
        guided=torch.arange(rows) % 3 > 0,
        count=float(rows),
        guided_count=float((torch.arange(rows) % 3 > 0).sum()),
    )
    return torch.randn(rows, 3, 32, 32, generator=generator), batch


def one_step(x: Tensor, batch: Batch, parts: int = 1) -> tuple[Student, Tensor, dict[str, Tensor]]:
    """With BatchNorm frozen, as it sees the pieces one at a time."""
    student = build_student(
        StudentChoice("cifar_resnet20", "cifar", CLASSES), CHANNELS, seed=0
    ).eval()
    optimizer = torch.optim.SGD(student.parameters(), lr=0.01)
    weights = RECIPE.weights(0)
    logits, losses = train_step(student, optimizer, RECIPE, weights, x, batch, "fp32", parts=parts)
    return student, logits, losses


def test_the_log_is_the_mean_over_samples_and_of_a_guided_term_over_guided_ones() -> None:
    """Steps of 3 samples with 2 guided and of 8 with 5 add up to one of 11 with 7; a step without
    any guided sample changes nothing but the number of samples."""
    sums = torch.zeros(len(RECIPE.terms) + 4, dtype=torch.float64)
    expected = {term.name: 0.0 for term in RECIPE.terms}
    right = 0
    for rows in (3, 8):
        x, batch = make_batch(rows)
        _, logits, losses = one_step(x, batch)
        sums += step_sums(RECIPE, batch, logits, losses)
        right += int((logits.argmax(1) == batch.labels).sum())
        for name in expected:
            share = {3: 2 / 7, 8: 5 / 7} if name == "gkd" else {3: 3 / 11, 8: 8 / 11}
            expected[name] += share[rows] * losses[name].item()
    log = means(sums, RECIPE, 0, World())
    assert log["loss"] == pytest.approx(expected, rel=1e-6)
    weights = RECIPE.weights(0)
    assert log["weight"] == weights
    total = sum(weights[name] * loss for name, loss in expected.items())
    assert log["total"] == pytest.approx(total)
    assert log["top1"] == pytest.approx(100 * right / 11)
    assert (log["top5"], log["samples"]) == (100.0, 11)
    x, batch = make_batch(3)
    batch = replace(batch, guided=torch.zeros(3, dtype=torch.bool), guided_count=0.0)
    _, logits, losses = one_step(x, batch)
    alone = step_sums(RECIPE, batch, logits, losses)
    assert means(alone, RECIPE, 0, World())["loss"]["gkd"] == 0.0
    both = means(sums + alone, RECIPE, 0, World())
    assert both["loss"]["gkd"] == pytest.approx(expected["gkd"], rel=1e-6)


@pytest.mark.parametrize("rows", [7, 8])
@pytest.mark.parametrize("parts", [2, 3, 100])
def test_a_step_in_pieces_is_that_of_the_whole(rows: int, parts: int) -> None:
    x, batch = make_batch(rows)
    whole, logits, losses = one_step(x, batch)
    cut, cut_logits, cut_losses = one_step(x, batch, parts)
    torch.testing.assert_close(cut_logits, logits, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(cut_losses, losses, rtol=1e-5, atol=1e-6)
    for mine, theirs in zip(cut.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_gpus_optimizer_leaves_out_a_step_that_overflows(precision: str) -> None:
    """The first one above all, which finds no momenta there. Only fp16 has a scaler, and an
    overflow is how that finds its scale."""
    plain = torch.nn.Linear(4, 3)
    mine = deepcopy(plain)
    optimizers = [
        make_optimizer(plain, RECIPE, torch.device("cpu"), "fp32"),
        make_optimizer(mine, RECIPE, torch.device("cuda"), precision),
    ]
    losses = [1.0, 2.0, 3.0] if precision != "fp16" else [math.inf, 1.0, 2.0, math.inf, 3.0]
    scaler = GradScaler("cpu") if precision == "fp16" else None
    for loss in losses:
        for model, optimizer in zip((plain, mine), optimizers, strict=True):
            optimizer.zero_grad()
            total = loss * model(torch.ones(2, 4)).sum()
            if scaler is None or model is plain:
                total.backward()
                if math.isfinite(loss):
                    optimizer.step()
            else:
                scaler.scale(total).backward()
                scaler.step(optimizer)
                scaler.update()
    torch.testing.assert_close(mine.weight, plain.weight)
    assert optimizers[1].defaults["fused"] == (scaler is None), "one kernel a step on a GPU"


def test_pieces_of_a_batch_are_its_rows_with_its_counts() -> None:
    _, batch = make_batch(7)
    pieces = batch.split(3)
    assert [len(piece.labels) for piece in pieces] == [3, 2, 2]
    assert torch.equal(torch.cat([piece.labels for piece in pieces]), batch.labels)
    assert batch.targets is not None and batch.targets.keys() == {"logits", "channels"}
    for name, values in batch.targets.items():
        rows = [piece.targets[name] for piece in pieces if piece.targets]
        assert torch.equal(torch.cat(rows), values), name
    guided = [piece.guided for piece in pieces if piece.guided is not None]
    assert batch.guided is not None and torch.equal(torch.cat(guided), batch.guided)
    assert {(piece.count, piece.guided_count) for piece in pieces} == {(7.0, 4.0)}
    bare = replace(batch, targets=None, guided=None)
    assert all(p.targets is None and p.guided is None for p in bare.split(2))


def test_counts_on_the_device_give_the_same_bits() -> None:
    """As a live teacher's and a stream's have them."""
    x, batch = make_batch(8)
    tensors = replace(
        batch,
        count=torch.tensor(float(batch.count)),
        guided_count=torch.tensor(float(batch.guided_count)),
    )
    mine, theirs = one_step(x, batch)[2], one_step(x, tensors)[2]
    assert mine.keys() == theirs.keys()
    for name, loss in mine.items():
        assert torch.equal(loss, theirs[name]), name
