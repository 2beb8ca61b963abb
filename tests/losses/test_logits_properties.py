"""What the papers say of their losses on logits: when they are zero, and what they are blind to."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.loss_cases import assert_near, cases, quick
from train.batch import Batch, StudentOutputs
from train.losses import DIST, DKD, IKL, KD, WTTM, Loss, TargetClass, WKDLogits

Case = tuple[StudentOutputs, Batch]


@pytest.mark.parametrize(
    "loss",
    [KD(2.0, True), DKD(), DKD(1.0, 8.0, 4.0), WTTM(1.0), IKL(alpha=0.0)],
    ids=repr,
)
@quick
@given(case=cases)
def test_zero_with_zero_gradients_at_the_teacher(loss: Loss, case: Case) -> None:
    _, batch = case
    logits = batch.targets["logits"].clone().requires_grad_()
    value = loss(StudentOutputs(logits, ()), batch)
    value.backward()
    assert value.item() == pytest.approx(0.0, abs=1e-5)
    assert_near(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize(
    "loss", [KD(2.0, True), DKD(), WTTM(0.3), IKL(0.0), WKDLogits(), TargetClass()], ids=repr
)
@quick
@given(case=cases)
def test_never_below_zero(loss: Loss, case: Case) -> None:
    assert loss(*case).item() >= -1e-5


@quick
@given(case=cases, scale=st.floats(0.1, 10), shift=st.floats(-5, 5))
def test_standardised_kd_is_blind_to_the_scale_of_logits(
    case: Case, scale: float, shift: float
) -> None:
    student, batch = case
    loss = KD(2.0, standardise=True)
    other = StudentOutputs(student.logits * scale + shift, ())
    assert loss(other, batch).item() == pytest.approx(loss(student, batch).item(), abs=1e-3)
    if batch.targets["logits"].std(1).min() > 0.01:
        scaled = StudentOutputs(batch.targets["logits"] * scale + shift, ())
        assert loss(scaled, batch).item() == pytest.approx(0.0, abs=1e-4)


@quick
@given(case=cases, temperature=st.sampled_from([1.0, 3.0]))
def test_kd_is_tckd_and_the_teachers_doubt_times_nckd(case: Case, temperature: float) -> None:
    """What "decoupled" means: equation 7 of the paper, sample by sample."""
    student, batch = case
    p = (batch.targets["logits"] / temperature).softmax(1)
    for i, label in enumerate(batch.labels.tolist()):
        rows = slice(i, i + 1)
        targets = {"logits": batch.targets["logits"][rows]}
        one = replace(batch, labels=batch.labels[rows], targets=targets, count=1.0)
        outputs = StudentOutputs(student.logits[rows], ())
        loss = DKD(1.0, float(1 - p[i, label]), temperature)
        expected = KD(temperature)(outputs, one).item()
        assert loss(outputs, one).item() == pytest.approx(expected, rel=1e-4, abs=1e-4)


@quick
@given(case=cases, temperature=st.sampled_from([2.0, 5.0]))
def test_ttm_is_zero_where_the_student_has_the_teachers_logits_at_a_temperature(
    case: Case, temperature: float
) -> None:
    _, batch = case
    student = StudentOutputs(batch.targets["logits"] / temperature, ())
    for weighted in (False, True):
        loss = WTTM(1 / temperature, weighted)
        assert loss(student, batch).item() == pytest.approx(0.0, abs=1e-5)


@quick
@given(case=cases)
def test_an_exponent_of_one_is_kd(case: Case) -> None:
    expected = KD()(*case).item()
    assert WTTM(1.0)(*case).item() == pytest.approx(expected, rel=1e-5, abs=1e-5)


@quick
@given(case=cases)
def test_a_blurred_plan_costs_what_independent_masses_cost(case: Case) -> None:
    """With much entropy the plan is the product of the two marginals."""
    student, batch = case
    loss = WKDLogits(temperature=1.0, eps=1e5, kappa=0.0)
    expected = 0.0
    for i, label in enumerate(batch.labels.tolist()):
        kept = [k for k in range(student.logits.shape[1]) if k != label]
        q_s = student.logits[i, kept].softmax(0)
        q_t = batch.targets["logits"][i, kept].softmax(0)
        expected += (q_s @ batch.fixed.classes.distance[kept][:, kept] @ q_t).item()
    assert loss(student, batch).item() == pytest.approx(expected / batch.count, abs=1e-4)


def test_a_sharp_plan_moves_mass_to_the_nearest_class() -> None:
    """Student on class 1, teacher on class 3, label 0: the cost is the distance from 1 to 3. The
    distance is not symmetric here, which shows that rows are the student's."""
    distance = torch.full((4, 4), 0.2)
    distance[1, 3], distance[3, 1] = 0.5, 0.3
    sure = 50 * torch.eye(4)
    classes = type("Classes", (), {"distance": distance, "prior": None})()
    batch = Batch(torch.tensor([0]), {"logits": sure[3:]}, None, 1.0, 0.0)
    batch = replace(batch, fixed=replace(batch.fixed, classes=classes))
    value = WKDLogits(kappa=0.0)(StudentOutputs(sure[1:2], ()), batch)
    assert value.item() == pytest.approx(0.5, abs=1e-3)
    sharpened = WKDLogits(kappa=2.0)(StudentOutputs(sure[1:2], ()), batch)
    assert sharpened.item() == pytest.approx(1 - torch.tensor(-1.0).exp().item(), abs=1e-3)


def test_what_wkd_needs() -> None:
    assert WKDLogits().needs == {"logits", "distance"}
    assert WKDLogits(cost="fc").needs == {"logits", "head"}
    with pytest.raises(ValueError, match="must be cka or fc: got 'cosine'"):
        WKDLogits(cost="cosine")  # type: ignore[arg-type]


def test_which_losses_read_labels_and_which_compare_samples() -> None:
    assert [kind for kind in (KD, WTTM, DIST) if kind.hard_labels] == []
    assert all(kind.hard_labels for kind in (DKD, TargetClass, IKL, WKDLogits))
    assert DIST.relational and not (DKD.relational or WKDLogits.relational)
