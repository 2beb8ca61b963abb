"""Which samples share a batch of the teacher: --teacher-statistics batch."""

from hypothesis import given
from hypothesis import strategies as st

from precompute.flags import make_parser
from shared import choices
from shared.records.teacher_batches import (
    TEACHER_BATCH,
    batches_of,
    fitting_block,
    least_batch,
    misfit,
)


@given(rows=st.integers(1, 3000), batch=st.integers(2, 300))
def test_batches_cut_a_block(rows: int, batch: int) -> None:
    cut = batches_of(rows, batch)
    assert [row for one in cut for row in one] == list(range(rows))
    assert all(len(one) == batch for one in cut[:-1])
    assert len(cut[-1]) < batch + least_batch(batch)
    assert len(cut[-1]) >= min(rows, least_batch(batch))


def test_the_last_batch_of_the_real_size() -> None:
    assert TEACHER_BATCH == 256 and least_batch(256) == 64
    for rows, last in ((1024, 256), (1024 - 192, 64), (1024 - 193, 256 + 63), (64, 64), (319, 319)):
        assert len(batches_of(rows, 256)[-1]) == last, rows
    assert make_parser("", ()).parse_args(["--split", "x"]).batch_size == TEACHER_BATCH
    assert f"batches of {TEACHER_BATCH} " in choices.STATISTICS["batch"]


@given(samples=st.integers(64, 10**7), usual=st.integers(1, 9000))
def test_a_block_that_fits_is_found(samples: int, usual: int) -> None:
    block = fitting_block(samples, usual, 256)
    assert block >= usual and misfit(samples, block, 256) is None
    last = samples % block
    assert block % 256 == 0 and (last == 0 or last >= 64)
    smaller = range(256 * -(-usual // 256), block, 256)
    assert all(misfit(samples, other, 256) for other in smaller), "an earlier one fits"


def test_the_block_of_imagenet_stays_the_usual_one() -> None:
    assert {fitting_block(n, 1024, 256) for n in (1_281_167, 50_000)} == {1024}
    assert fitting_block(1024 + 63, 1024, 256) == 1280
