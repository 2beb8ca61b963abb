"""What always holds of losses on embedding and head: equality, invariances, extremes, dtypes."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.losses.embedding_cases import (
    PER_SAMPLE,
    SMALL_CRD,
    case,
    every_loss,
    leaves,
    per_sample,
    rows_of_case,
    value,
    with_values,
)
from train.batch import StudentOutputs
from train.losses import CRD, L2, PKT, RKD, SRD, SRRL, Loss, NormDirection


def at_the_teacher(student: StudentOutputs, theirs: Tensor) -> StudentOutputs:
    same = {name: theirs.clone() for name in ("embedding", "srrl", "srd")}
    return with_values(student, same)


@pytest.mark.parametrize(
    "loss", [L2(), L2(beta=0.5), SRRL(), SRRL(beta=0.5), PKT(), RKD()], ids=repr
)
def test_zero_with_zero_gradient_where_student_and_teacher_agree(loss: Loss) -> None:
    student, batch = case(1)
    equal = at_the_teacher(student, batch.targets["embedding"])
    found = leaves(equal)
    loss_there = value(loss, equal, batch)
    loss_there.backward()
    assert loss_there.item() == pytest.approx(0, abs=1e-9)
    grads = [leaf.grad for leaf in found.values() if leaf.grad is not None]
    assert grads and all(grad.abs().max() < 1e-6 for grad in grads)
    assert value(loss, student, batch).item() > 1e-4


def test_srd_at_the_teacher_is_finite_without_gradient() -> None:
    student, batch = case(1)
    equal = at_the_teacher(student, batch.targets["embedding"])
    found = leaves(equal)
    there = value(SRD(), equal, batch)
    there.backward()
    assert there.item() == pytest.approx(math.log(1e-12))
    assert not found["srd"].grad.any()
    assert value(SRD(), student, batch).item() > 0


@pytest.mark.parametrize(
    ("loss", "factor", "shift"),
    [(SRD(), 3.0, 2.0), (RKD(), 3.0, 2.0), (PKT(), 3.0, 0.0), (SMALL_CRD, 3.0, 0.0)],
    ids=repr,
)
def test_blind_to_the_scale_and_place_of_the_student(
    loss: Loss, factor: float, shift: float
) -> None:
    """As far as each of them is: SRD normalises columns, RKD distances, PKT and CRD rows."""
    student, batch = case(2, scale=20.0)
    moved = {name: leaf.detach() * factor + shift for name, leaf in leaves(student).items()}
    found = value(loss, with_values(student, moved), batch).item()
    assert found == pytest.approx(value(loss, student, batch).item(), rel=1e-4, abs=1e-6)


def test_nd_falls_until_the_student_is_as_long_as_the_teacher() -> None:
    """Along the centre it falls with the length, to 0 and no further."""
    student, batch = case(3, samples=1)
    centre = batch.fixed.classes.centres[batch.labels]
    batch = replace(batch, targets={"embedding": torch.full((1, 4), 2.0)})  # length 4
    found = [
        value(NormDirection(), replace(student, embedding=centre * length), batch).item()
        for length in (-4.0, 0.0, 1.0, 4.0, 8.0)
    ]
    assert found == pytest.approx([2, 1, 0.75, 0, 0], abs=1e-6)


@pytest.mark.parametrize("loss", [loss for loss in PER_SAMPLE], ids=repr)
def test_blind_to_the_teachers_logits_and_bias(loss: Loss) -> None:
    """A cache may hold logits that are shifted by a constant a row."""
    student, batch = case(4)
    head = replace(batch.fixed.head, bias=batch.fixed.head.bias + 7)
    moved = replace(
        batch,
        targets={**batch.targets, "logits": batch.targets["logits"] - 9},
        fixed=replace(batch.fixed, head=head),
    )
    assert value(loss, student, moved).item() == value(loss, student, batch).item()


@per_sample
@pytest.mark.parametrize("cut", [0, 2, 5])
def test_two_uneven_parts_average_to_the_whole_with_its_gradients(loss: Loss, cut: int) -> None:
    student, batch = case(5, samples=7)
    found = leaves(student)
    names = [name for name in found if name in ("embedding", "srrl")]
    whole = value(loss, student, batch)
    cuts = (slice(cut), slice(cut, None))
    average = sum(value(loss, *rows_of_case(student, batch, rows, parts=2)) for rows in cuts) / 2
    assert average.item() == pytest.approx(whole.item(), rel=1e-5)
    for name in names:
        one, two = (
            torch.autograd.grad(loss_, found[name], retain_graph=True, allow_unused=True)[0]
            for loss_ in (whole, average)
        )
        assert (one is None) == (two is None)
        if one is not None:
            torch.testing.assert_close(one, two)


@every_loss
@pytest.mark.parametrize(
    "kind", ["huge", "tiny", "zero", "all the same", "one far out", "one sample", "student is zero"]
)
def test_extreme_rows_give_finite_losses_and_gradients(loss: Loss, kind: str) -> None:
    samples = 1 if kind == "one sample" else 4
    scale = {"huge": 1e4, "tiny": 1e-8}.get(kind, 1.0)
    student, batch = case(6, samples=samples, classes=2, scale=scale)
    theirs = batch.targets["embedding"]
    found = leaves(student)
    with torch.no_grad():
        for rows in [*found.values(), theirs]:
            if kind == "zero" or (kind == "student is zero" and rows is not theirs):
                rows.zero_()
            if kind == "all the same":
                rows.copy_(rows[:1].expand_as(rows).clone())
            if kind == "one far out":
                rows[-1] *= 1e4
    for steps in (0, 2):  # the first step of CRD sets its constants
        batch.fixed.memory.steps = steps
        there = value(loss, student, batch)
        assert there.isfinite()
        there.backward()
    for name, leaf in found.items():
        if leaf.grad is not None:
            assert leaf.grad.isfinite().all(), name
            assert leaf.grad.abs().max() < 1e7, name


def test_one_odd_image_pulls_no_harder_however_far_it_lies() -> None:
    """What `beta` is for: without it the gradient grows with the distance."""
    for plain, cured in ((L2(), L2(beta=1.0)), (SRRL(), SRRL(beta=1.0))):
        pulls = []
        for loss in (plain, cured):
            for far in (1e2, 1e4):
                student, batch = case(7)
                batch.targets["embedding"][0] = far
                found = leaves(student)
                value(loss, student, batch).backward()
                name = "srrl" if isinstance(loss, SRRL) else "embedding"
                pulls.append(found[name].grad[0].norm().item())
        assert pulls[1] > 50 * pulls[0]
        assert pulls[3] == pytest.approx(pulls[2], rel=1e-3)


@every_loss
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_computes_in_float32_whatever_comes_in(
    loss: Loss, dtype: torch.dtype, autocast: bool
) -> None:
    student, batch = case(8)
    rounded = {name: leaf.detach().to(dtype) for name, leaf in leaves(student).items()}
    exact = {name: values.float() for name, values in rounded.items()}
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        got = value(loss, with_values(student, rounded), batch)
    assert got.dtype == torch.float32
    assert got.item() == value(loss, with_values(student, exact), batch).item()


@pytest.mark.parametrize("loss", [L2(), NormDirection()], ids=repr)
def test_other_widths_are_refused(loss: Loss) -> None:
    """Broadcasting would train on something else."""
    student, batch = case(9)
    narrow = replace(student, embedding=student.embedding[:, :1])
    with pytest.raises(ValueError) as error:
        value(loss, narrow, batch)
    assert str(error.value) == (
        "the student's embedding does not fit the teacher's: got (samples, width) (6, 1) from the "
        "student and (6, 4) from the teacher; build the student for this teacher"
    )


@pytest.mark.parametrize("loss", [PKT(), RKD()], ids=repr)
def test_relations_compare_embeddings_of_any_width(loss: Loss) -> None:
    student, batch = case(10)
    wide = torch.cat([student.embedding, torch.zeros(6, 3)], dim=1)
    found = value(loss, replace(student, embedding=wide), batch).item()
    assert found == pytest.approx(value(loss, student, batch).item(), rel=1e-5)


def test_angles_in_blocks_are_those_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for block in (2**24, 1, 7 * 7 * 3):  # all samples at once, one at a time, three
        monkeypatch.setattr("train.losses.rkd.BLOCK", block)
        student, batch = case(11, samples=7)
        found = leaves(student)
        loss = value(RKD(), student, batch)
        loss.backward()
        results.append((loss.detach(), found["embedding"].grad))
    for other in results[1:]:
        torch.testing.assert_close(other, results[0])


def test_needs() -> None:
    assert L2().needs == PKT().needs == RKD().needs == SRD().needs == {"embedding"}
    assert L2(beta=1.0).needs == {"embedding", "spread"}
    assert SRRL().needs == {"embedding", "head"}
    assert SRRL(beta=1.0).needs == {"embedding", "head", "spread"}
    assert NormDirection().needs == {"embedding", "centres"}
    assert CRD().needs == {"embedding", "memory"}
