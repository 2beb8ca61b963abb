"""What always holds of losses on maps: zeros, parts of a batch, gradients, precisions, sizes."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, normalize

from shared.errors import InputError
from tests.losses.map_cases import (
    LOSSES,
    batch_of,
    maps,
    meeting,
    parts_of,
    student_maps,
    value,
)
from train.losses import AT, CATKD, FitNets, Loss, MapMatching, ResidualKD
from train.losses.attention import AttentionMap
from train.losses.cat import ClassMaps
from train.losses.fitnets import regressor

every_loss = pytest.mark.parametrize("loss", LOSSES, ids=repr)


@every_loss
def test_zero_at_the_teacher(loss: Loss, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, layer = maps(5, 3), nn.Linear(3, 5)
    monkeypatch.setattr("tests.losses.map_cases.head", lambda seed: layer)  # of both networks
    ours = (*theirs, *theirs) if isinstance(loss, ResidualKD) else theirs
    assert value(loss, ours, theirs).item() < 1e-12


@every_loss
def test_two_uneven_parts_average_to_the_whole_with_its_gradients(loss: Loss) -> None:
    ours, theirs = student_maps(loss, 1, 5), maps(5, 5)
    leaves = [stage.requires_grad_() for stage in ours]
    found = []
    for pieces in ([slice(5)], [slice(2), slice(2, 5)], [slice(0), slice(5)]):
        cut = [
            value(
                loss,
                tuple(stage[rows] for stage in ours),
                tuple(stage[rows] for stage in theirs),
                5 / len(pieces),
            )
            for rows in pieces
        ]
        average = torch.stack(cut).mean()
        gradients = torch.autograd.grad(average, leaves, allow_unused=True)
        found.append((average, [x for x in gradients if x is not None]))
    assert found[0][1]
    for average, gradients in found[1:]:
        torch.testing.assert_close(average, found[0][0], rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(gradients, found[0][1], rtol=1e-5, atol=1e-7)


@every_loss
def test_gradients_are_those_of_finite_differences(loss: Loss) -> None:
    """Along a random direction; of ResidualKD only in the sums, see the test of its halves."""
    ours, theirs = student_maps(loss, 1, 2), maps(5, 2)
    leaves = [(stage + 0.1).requires_grad_() for stage in ours]
    moved = leaves[2:] if isinstance(loss, ResidualKD) else leaves
    rng = torch.Generator().manual_seed(3)
    ways = [torch.randn(stage.shape, generator=rng) for stage in leaves]
    if isinstance(loss, ResidualKD):
        ways[0], ways[1] = torch.zeros_like(ways[0]), torch.zeros_like(ways[1])
    gradients = torch.autograd.grad(value(loss, tuple(leaves), theirs), moved, allow_unused=True)
    pairs = zip(gradients, ways[-len(moved) :], strict=True)
    slope = sum(float((g * way).sum()) for g, way in pairs if g is not None)
    step = 1e-2
    ends = [
        value(
            loss, tuple(s.detach() + x * way for s, way in zip(leaves, ways, strict=True)), theirs
        )
        for x in (step, -step)
    ]
    assert (ends[0] - ends[1]).item() / (2 * step) == pytest.approx(slope, rel=2e-2, abs=1e-4)


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_computes_in_float32(loss: Loss, dtype: torch.dtype) -> None:
    """Maps of lower precision give the loss of the same numbers in float32."""
    ours, theirs = student_maps(loss, 1, 3), maps(5, 3)
    rounded = tuple(stage.to(dtype) for stage in ours)
    found = value(loss, rounded, theirs)
    expected = value(loss, tuple(stage.float() for stage in rounded), theirs)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


@every_loss
@pytest.mark.parametrize("scale", [0.0, 1e4])
def test_extreme_maps_have_finite_gradients(loss: Loss, scale: float) -> None:
    ours = tuple((stage * scale).requires_grad_() for stage in student_maps(loss, 1, 2))
    found = value(loss, ours, maps(5, 2))
    found.backward()
    assert found.isfinite()
    assert all(stage.grad.isfinite().all() for stage in ours if stage.grad is not None)


def test_attention_is_blind_to_the_scale_of_maps() -> None:
    ours, theirs = maps(1, 3), maps(5, 3)
    scaled = tuple(7 * stage for stage in ours)
    found = [value(AT((1, 2)), stages, theirs).item() for stages in (ours, scaled)]
    assert found[1] == pytest.approx(found[0], rel=1e-5)


def test_attention_averages_a_larger_student_before_it_squares() -> None:
    (ours,) = maps(1, 2, (8, 14))[1:]
    expected = adaptive_avg_pool2d(ours, 7).square().mean(1).flatten(1)
    torch.testing.assert_close(AttentionMap(7)(ours), normalize(expected, dim=1))


def test_attention_averages_a_larger_teachers_attention() -> None:
    theirs, ours = maps(5, 2, (8, 14)), maps(1, 2, (8, 7))
    seen = normalize(theirs[1].square().mean(1, keepdim=True).flatten(1), dim=1)
    pooled = normalize(adaptive_avg_pool2d(seen.view(2, 1, 14, 14), 7).flatten(1), dim=1)
    expected = (AttentionMap()(ours[1]) - pooled).square().mean()
    assert value(AT((2,)), ours, theirs).item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_assistant_alone_learns_the_residual() -> None:
    """S gets the gradient of its own term, and the sums that of (S + A) - T."""
    ours, theirs = student_maps(ResidualKD(), 1, 2), maps(5, 2)
    leaves = [stage.requires_grad_() for stage in ours]
    sums = [leaves[0] + leaves[2], leaves[1] + leaves[3]]  # leaves 2 and 3: the assistant's
    stages = (leaves[0], leaves[1], *sums)
    value(ResidualKD((1, 2)), stages, theirs).backward()
    for stage in (0, 1):
        numbers = theirs[stage].numel()
        alone = 2 * (leaves[stage] - theirs[stage]) / numbers
        both = 2 * (sums[stage] - theirs[stage]) / numbers
        torch.testing.assert_close(leaves[stage].grad, alone, rtol=1e-4, atol=1e-8)
        torch.testing.assert_close(leaves[stage + 2].grad, both, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ((3, 8, 8), (5, 8, 8)),
        ((3, 8, 8), (5, 4, 4)),
        ((3, 4, 4), (5, 8, 8)),
        ((3, 9, 7), (5, 6, 6)),
    ],
)
@pytest.mark.parametrize("signed", [False, True])
def test_regressors_fit(ours: tuple[int, ...], theirs: tuple[int, ...], signed: bool) -> None:
    found: Tensor = regressor(ours, theirs, signed)(torch.randn(2, *ours))
    assert found.shape == (2, *theirs) and bool((found < 0).any()) == signed


def test_refusals() -> None:
    with pytest.raises(InputError, match=r"got 3 x 3 pixels from the student and 8 x 8 from"):
        regressor((3, 3, 3), (5, 8, 8), False)
    wide = tuple(torch.cat([stage, stage], dim=1) for stage in maps(1, 2))
    for loss in (MapMatching(2), ResidualKD((2,))):
        ours = (*wide, *wide) if isinstance(loss, ResidualKD) else wide
        with pytest.raises(InputError, match=r"got 6 from stage [24] of the student and 3 from"):
            loss.parts(meeting(ours, maps(5, 2), loss))
    with pytest.raises(InputError, match="needs a student made of two networks"):
        ResidualKD((2,)).parts(meeting(maps(1, 2), maps(5, 2), ResidualKD((2,))))
    met = meeting(maps(1, 2), maps(5, 2), CATKD())
    for changed in (replace(met, head=None), replace(met, pooled=False)):
        with pytest.raises(InputError, match="CAT-KD needs a student and a teacher whose last"):
            CATKD().parts(changed)
    outputs = parts_of(FitNets(2), maps(1, 2), maps(5, 2))
    with pytest.raises(ValueError, match="differ in shape: got"):
        FitNets(2)(outputs, batch_of(maps(5, 2, (8, 5)), FitNets(2).needs))


def test_class_maps_keep_no_parameters_of_their_own() -> None:
    """The last layer is the backbone's: once in the state dict, once in the optimizer."""
    layer = nn.Linear(3, 5)
    cams = ClassMaps(layer)
    assert not list(cams.parameters()) and not cams.state_dict()
    cams(torch.randn(2, 3, 7, 7)).sum().backward()
    assert layer.weight.grad is not None and layer.weight.grad.abs().sum() > 0
