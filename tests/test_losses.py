"""Losses against a slow float64 reference, values worked out by hand, and what must always hold."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from shared.targets.targets import rows_of
from tests.said import said, stages_of
from train.batch import Batch, StudentOutputs
from train.losses import (
    CE,
    KD,
    ChannelDistillation,
    GuidedKD,
    Loss,
    RobustChannelDistillation,
)

LOSSES: list[Loss] = [
    *(CE(), KD(1.0), KD(4.0), GuidedKD(1.0), GuidedKD(4.0), ChannelDistillation()),
    *(RobustChannelDistillation(), RobustChannelDistillation(beta=0.3)),
]
LN3 = math.log(3.0)
WIDTHS = (3, 4)  # of the stages of a random case
quick = settings(max_examples=25, deadline=None)


# ---- the reference: one sample, one class at a time, in float64


def slow_softmax(logits: np.ndarray, temperature: float) -> list[float]:
    top = max(float(x) for x in logits)
    powers = [math.exp((float(x) - top) / temperature) for x in logits]
    return [power / sum(powers) for power in powers]


def slow_ce(student: StudentOutputs, batch: Batch) -> float:
    total = 0.0
    for row, label in zip(student.logits.double().numpy(), batch.labels.tolist(), strict=True):
        total += -math.log(slow_softmax(row, 1.0)[label])
    return total / batch.count


def slow_kd(student: StudentOutputs, batch: Batch, temperature: float, guided: bool) -> float:
    total = 0.0
    for i in range(len(batch.labels)):
        if guided and not batch.guided[i]:
            continue
        p = slow_softmax(batch.targets["logits"][i].double().numpy(), temperature)
        q = slow_softmax(student.logits[i].double().numpy(), temperature)
        for p_c, q_c in zip(p, q, strict=True):
            total += p_c * (math.log(p_c) - math.log(q_c))
    count = batch.guided_count if guided else batch.count
    return temperature**2 * total / count if count else 0.0


def teachers_stages(student: StudentOutputs, batch: Batch) -> tuple[Tensor, ...]:
    return stages_of(batch.targets, [means.shape[1] for means in student.channels])


def slow_cd(student: StudentOutputs, batch: Batch) -> float:
    total = 0.0
    for ours, theirs in zip(student.channels, teachers_stages(student, batch), strict=True):
        samples, width = ours.shape
        stage = 0.0
        for i in range(samples):
            for c in range(width):
                stage += (float(ours[i, c]) - float(theirs[i, c])) ** 2
        total += stage / (width * batch.count)
    return total


def slow_rcd(student: StudentOutputs, batch: Batch, beta: float) -> float:
    total = 0.0
    stages = teachers_stages(student, batch)
    for ours, theirs, spread in zip(student.channels, stages, batch.spread, strict=True):
        samples, width = ours.shape
        stage = 0.0
        for i in range(samples):
            for c in range(width):
                x = abs(float(ours[i, c]) - float(theirs[i, c])) / float(spread[c])
                stage += x**2 if x <= beta else beta**2 + 2 * beta * (x - beta)
        total += stage / (width * batch.count)
    return total


def slow(loss: Loss, student: StudentOutputs, batch: Batch) -> float:
    match loss:
        case CE():
            return slow_ce(student, batch)
        case KD(temperature):
            return slow_kd(student, batch, temperature, guided=False)
        case GuidedKD(temperature):
            return slow_kd(student, batch, temperature, guided=True)
        case ChannelDistillation():
            return slow_cd(student, batch)
        case RobustChannelDistillation(beta):
            return slow_rcd(student, batch, beta)


# ---- examples


def make_batch(
    labels: Tensor, logits: Tensor, channels: tuple[Tensor, ...], guided: Tensor, parts: int = 1
) -> Batch:
    """A whole step's batch; with `parts`, its counts as each of so many processes gets them."""
    return Batch(
        labels=labels,
        targets=said(logits, channels),
        guided=guided,
        count=len(labels) / parts,
        guided_count=float(guided.sum()) / parts,
        spread=tuple(0.5 + torch.arange(means.shape[1]) / 4 for means in channels),
    )


def random_case(
    seed: int, samples: int = 6, classes: int = 5, spread: float = 3.0
) -> tuple[StudentOutputs, Batch]:
    rng = torch.Generator().manual_seed(seed)

    def normal(width: int) -> Tensor:
        return torch.randn(samples, width, generator=rng) * spread

    student = StudentOutputs(normal(classes), tuple(map(normal, WIDTHS)))
    labels = torch.randint(classes, (samples,), generator=rng)
    guided = torch.rand(samples, generator=rng) < 0.6
    return student, make_batch(labels, normal(classes), tuple(map(normal, WIDTHS)), guided)


def assert_near(got: Tensor, expected: Tensor) -> None:
    """torch.testing.assert_close takes five seconds to import what it needs."""
    np.testing.assert_allclose(got.detach().numpy(), expected.detach().numpy(), 1e-4, 1e-5)


def some_of(student: StudentOutputs, batch: Batch, rows: slice, parts: int = 1) -> tuple:
    """Some samples of a batch, with the whole batch's counts divided by `parts`."""
    cut = StudentOutputs(student.logits[rows], tuple(c[rows] for c in student.channels))
    targets = rows_of(batch.targets, rows)
    counts = batch.count / parts, batch.guided_count / parts
    return cut, Batch(batch.labels[rows], targets, batch.guided[rows], *counts, batch.spread)


cases = st.builds(
    random_case,
    seed=st.integers(0, 2**32 - 1),
    samples=st.integers(1, 7),
    classes=st.integers(2, 6),
    spread=st.sampled_from([0.1, 3.0, 10.0]),
)
every_loss = pytest.mark.parametrize("loss", LOSSES, ids=repr)


# ---- values


@every_loss
@quick
@given(case=cases)
def test_equals_the_slow_reference(loss: Loss, case: tuple[StudentOutputs, Batch]) -> None:
    value = loss(*case)
    assert value.shape == () and value.dtype == torch.float32
    assert value.item() == pytest.approx(slow(loss, *case), rel=1e-4, abs=1e-4)


def two_rows(guided: list[bool]) -> tuple[StudentOutputs, Batch]:
    """Row 0: student (1/2, 1/2), teacher (1/4, 3/4). Row 1: student (1/4, 3/4), teacher (3/4, 1/4).

    KL of row 0: ln(1/2)/4 + 3/4 ln(3/2) = 0.130812. KL of row 1: 3/4 ln 3 - 1/4 ln 3 = 0.549306.
    """
    student = StudentOutputs(
        logits=torch.tensor([[0.0, 0.0], [0.0, LN3]]),
        channels=(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[5.0], [7.0]])),
    )
    channels = (torch.zeros(2, 2), torch.tensor([[4.0], [9.0]]))
    logits = torch.tensor([[0.0, LN3], [LN3, 0.0]])
    return student, make_batch(torch.tensor([0, 1]), logits, channels, torch.tensor(guided))


@pytest.mark.parametrize(
    ("loss", "guided", "expected"),
    [
        (CE(), [True, True], (0.693147 + 0.287682) / 2),  # ln 2, -ln 3/4
        (KD(), [True, True], (0.130812 + 0.549306) / 2),
        (GuidedKD(), [True, True], (0.130812 + 0.549306) / 2),
        (GuidedKD(), [True, False], 0.130812),
        (GuidedKD(), [False, True], 0.549306),
        # Stage 1: (1 + 4 + 9 + 16) / (2 * 2); stage 2: (1 + 4) / (1 * 2).
        (ChannelDistillation(), [True, True], 7.5 + 2.5),
        # Divided by 1/2 and 3/4: 2, 8/3 and 6, 16/3; stage 2, by 1/2: 2 and -4. Beyond 1 a
        # difference x counts 2 x - 1.
        (RobustChannelDistillation(), [True, True], (3 + 13 / 3 + 11 + 29 / 3) / 4 + (3 + 7) / 2),
        (RobustChannelDistillation(beta=100), [True, True], (4 + 64 / 9 + 36 + 256 / 9) / 4 + 10),
    ],
    ids=str,
)
def test_values_by_hand(loss: Loss, guided: list[bool], expected: float) -> None:
    assert loss(*two_rows(guided)).item() == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("kind", [KD, GuidedKD])
def test_temperature_divides_the_logits_and_its_square_multiplies(kind: Callable) -> None:
    student = StudentOutputs(torch.zeros(1, 2), ())
    batch = make_batch(
        torch.tensor([1]), torch.tensor([[0.0, 2 * LN3]]), (), guided=torch.tensor([True])
    )
    assert kind(2.0)(student, batch).item() == pytest.approx(4 * 0.130812, abs=4e-6)


# ---- what must always hold


@quick
@given(case=cases, temperature=st.sampled_from([1.0, 2.0, 4.0]))
def test_kd_is_zero_at_the_teacher_and_never_below(
    case: tuple[StudentOutputs, Batch], temperature: float
) -> None:
    student, batch = case
    logits = batch.targets["logits"].clone().requires_grad_()
    at_teacher = KD(temperature)(StudentOutputs(logits, ()), batch)
    at_teacher.backward()
    assert at_teacher.item() == 0.0
    assert_near(logits.grad, torch.zeros_like(logits))
    assert KD(temperature)(student, batch).item() >= -1e-5


@every_loss
@quick
@given(case=cases, shift=st.floats(-50, 50), teacher_shift=st.floats(-50, 50))
def test_blind_to_a_constant_added_to_a_row_of_logits(
    loss: Loss, case: tuple[StudentOutputs, Batch], shift: float, teacher_shift: float
) -> None:
    student, batch = case
    shifted = StudentOutputs(student.logits + shift, student.channels)
    moved = make_batch(
        batch.labels,
        batch.targets["logits"] + teacher_shift,
        stages_of(batch.targets, WIDTHS),
        guided=batch.guided,
    )
    expected = loss(student, batch).item()
    assert loss(shifted, moved).item() == pytest.approx(expected, rel=1e-3, abs=1e-3)


@quick
@given(case=cases, temperature=st.sampled_from([1.0, 4.0]))
def test_guided_kd_is_kd_where_every_sample_is_guided(
    case: tuple[StudentOutputs, Batch], temperature: float
) -> None:
    student, batch = case
    everyone = torch.ones(len(batch.labels), dtype=torch.bool)
    batch = make_batch(batch.labels, batch.targets["logits"], (), guided=everyone)
    guided = GuidedKD(temperature)(student, batch)
    assert guided.item() == KD(temperature)(student, batch).item()


@every_loss
@quick
@given(case=cases, cut=st.integers(0, 7))
def test_two_uneven_parts_average_to_the_whole_with_its_gradients(
    loss: Loss, case: tuple[StudentOutputs, Batch], cut: int
) -> None:
    """As train/batch.py promises for processes: counts over parts, then losses averaged.

    `cut` may leave a part without samples, or without guided ones.
    """
    student, batch = case
    leaves = (student.logits.requires_grad_(), *(c.requires_grad_() for c in student.channels))
    whole = loss(student, batch)
    parts = [
        loss(*some_of(student, batch, rows, parts=2)) for rows in (slice(cut), slice(cut, None))
    ]
    average = (parts[0] + parts[1]) / 2
    assert_near(average, whole)
    for one, two in zip(
        torch.autograd.grad(whole, leaves, allow_unused=True),
        torch.autograd.grad(average, leaves, allow_unused=True),
        strict=True,
    ):
        assert (one is None) == (two is None)
        if one is not None:
            assert_near(two, one)


@every_loss
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_computes_in_float32_whatever_comes_in(
    loss: Loss, dtype: torch.dtype, autocast: bool
) -> None:
    """The loss of rounded inputs is the float32 loss of them, bit for bit."""
    student, batch = random_case(seed=1)

    def rounded(*through: torch.dtype) -> tuple[StudentOutputs, Batch]:
        def cast(tensor: Tensor) -> Tensor:
            for step in through:
                tensor = tensor.to(step)
            return tensor

        outputs = StudentOutputs(cast(student.logits), tuple(map(cast, student.channels)))
        logits = cast(batch.targets["logits"])
        channels = tuple(map(cast, stages_of(batch.targets, WIDTHS)))
        return outputs, make_batch(batch.labels, logits, channels, batch.guided)

    case = rounded(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        got = loss(*case)
    assert got.dtype == torch.float32
    assert got.item() == loss(*rounded(dtype, torch.float32)).item()


# ---- guided KD: who is left out, is out


@pytest.mark.parametrize("count", [0.0, 0.5])
def test_no_guided_sample_is_exactly_zero_and_stays_in_the_graph(count: float) -> None:
    """With count 0.5 the other of two processes has the step's only guided sample."""
    student, batch = random_case(seed=2)
    logits = student.logits.requires_grad_()
    unguided = torch.zeros(len(batch.labels), dtype=torch.bool)
    value = GuidedKD()(student, Batch(batch.labels, batch.targets, unguided, batch.count, count))
    assert value.item() == 0.0 and value.requires_grad
    value.backward()
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf, 3e38])
@pytest.mark.parametrize("side", ["student", "teacher", "both"])
def test_an_unguided_row_cannot_leak(poison: float, side: str) -> None:
    student, batch = random_case(seed=3)
    guided = torch.tensor([True, False, True, True, False, True])
    clean = make_batch(batch.labels, batch.targets["logits"], (), guided)
    expected = GuidedKD()(student, clean).item()

    ours, theirs = student.logits.clone(), batch.targets["logits"].clone()
    for name, logits in (("student", ours), ("teacher", theirs)):
        if side in (name, "both"):
            logits[1] = poison
            logits[4, 2] = poison
    value = GuidedKD()(
        StudentOutputs(ours.requires_grad_(), ()), make_batch(batch.labels, theirs, (), guided)
    )
    value.backward()
    assert value.item() == expected
    assert torch.isfinite(ours.grad).all()
    assert not ours.grad[~guided].any()
    assert ours.grad[guided].any(dim=1).all()


# ---- teachers that are very sure


@pytest.mark.parametrize("kind", [KD, GuidedKD])
@pytest.mark.parametrize("gap", [200.0, 1e4])
def test_underflowing_probabilities_stay_finite(kind: Callable, gap: float) -> None:
    """softmax gives the second class exactly 0; its part of the sum is 0, not 0 * -inf.

    What remains is the cross entropy with class 0: ln 2 for row 0, the gap itself for row 1.
    """
    logits = torch.tensor([[0.0, 0.0], [-gap, 0.0]], requires_grad=True)
    teacher = torch.tensor([[gap, 0.0], [gap, 0.0]])
    assert torch.softmax(teacher, dim=1)[0, 1] == 0.0
    batch = make_batch(torch.tensor([0, 0]), teacher, (), guided=torch.tensor([True, True]))
    value = kind()(StudentOutputs(logits, ()), batch)
    value.backward()
    assert value.item() == pytest.approx((math.log(2.0) + gap) / 2, rel=1e-6)
    expected = torch.tensor([[-0.25, 0.25], [-0.5, 0.5]])  # (softmax(s) - softmax(t)) / count
    assert_near(logits.grad, expected)


@pytest.mark.parametrize("far", [1e1, 1e3, 1e5])
def test_one_odd_image_pulls_no_harder_however_far_it_lies(far: float) -> None:
    """What RCD is for: under CD the gradient grows with the distance."""
    pulls = []
    for loss in (RobustChannelDistillation(), ChannelDistillation()):
        ours = torch.zeros(2, 3, requires_grad=True)
        theirs = torch.tensor([[0.1, 0.2, 0.3], [far, far, far]])
        guided = torch.tensor([True, True])
        batch = make_batch(torch.tensor([0, 1]), torch.zeros(2, 5), (theirs,), guided)
        loss(StudentOutputs(torch.zeros(2, 5), (ours,)), batch).backward()
        pulls.append(ours.grad[1].abs())
    assert_near(pulls[0], 2 / (batch.spread[0] * 3 * 2))
    assert_near(pulls[1], torch.full((3,), far / 3))


# ---- what they declare and refuse


def test_needs() -> None:
    assert CE.needs == frozenset()
    assert KD.needs == {"logits"}
    assert GuidedKD.needs == {"logits", "guided"}
    assert ChannelDistillation.needs == {"channels"}
    assert RobustChannelDistillation.needs == {"channels", "spread"}


def test_ce_asks_nothing_of_a_teacher() -> None:
    batch = Batch(torch.tensor([1]), targets=None, guided=None, count=1.0, guided_count=0.0)
    assert CE()(StudentOutputs(torch.zeros(1, 4), ()), batch).item() == pytest.approx(math.log(4))


@pytest.mark.parametrize(
    ("ours", "theirs", "got"),
    [
        ([3], [3, 4], "(2, 3) from the student and (2, 7)"),
        ([3, 4], [3], "(2, 3), (2, 4) from the student and (2, 3)"),
        ([3, 5], [3, 4], "(2, 3), (2, 5) from the student and (2, 7)"),
        ([1], [3], "(2, 1) from the student and (2, 3)"),  # would broadcast
        ([], [3], "nothing from the student and (2, 3)"),
        ([], [0], "nothing from the student and (2, 0)"),
    ],
)
@pytest.mark.parametrize("loss", [ChannelDistillation(), RobustChannelDistillation()], ids=repr)
def test_channel_distillation_refuses_other_stages(
    loss: Loss, ours: list[int], theirs: list[int], got: str
) -> None:
    student = StudentOutputs(torch.zeros(2, 5), tuple(torch.zeros(2, c) for c in ours))
    channels = tuple(torch.zeros(2, c) for c in theirs)
    batch = make_batch(
        torch.tensor([0, 1]), torch.zeros(2, 5), channels, guided=torch.tensor([True, True])
    )
    with pytest.raises(ValueError) as error:
        loss(student, batch)
    assert str(error.value) == (
        "the student's connectors do not fit the teacher's stages and channels: got (samples, "
        f"channels) {got}, stages side by side, from the teacher; build the student for this "
        "teacher"
    )


@pytest.mark.parametrize("kind", [KD, GuidedKD])
@pytest.mark.parametrize("classes", [1, 1000])
def test_kd_refuses_other_classes(kind: Callable, classes: int) -> None:
    batch = make_batch(
        torch.tensor([0, 1]), torch.zeros(2, classes), (), guided=torch.tensor([True, True])
    )
    with pytest.raises(ValueError) as error:
        kind()(StudentOutputs(torch.zeros(2, 10), ()), batch)
    assert str(error.value) == (
        "student and teacher have different classes: got (samples, classes) (2, 10) from "
        f"the student and (2, {classes}) from the teacher; build the student for the classes of "
        "this teacher"
    )
