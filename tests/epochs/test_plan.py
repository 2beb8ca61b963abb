"""What every plan promises, on any blocks, skipped samples and windows: compared with a replay."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.epochs.order import epoch_order, split_batches
from shared.epochs.windows import EpochPlan, Epochs
from shared.records.manifest import Manifest
from tests.epochs.large_rows import epochs_of, large_rows


@dataclass(frozen=True)
class Case:
    manifest: Manifest
    usable: list[int]
    batch_size: int
    epochs: Epochs


@st.composite
def case(draw: st.DrawFn) -> Case:
    samples, block = draw(st.integers(1, 300)), draw(st.integers(1, 40))
    skipped = draw(st.sets(st.integers(0, samples - 1), max_size=min(samples - 1, 60)))
    usable = sorted(set(range(samples)) - skipped)
    manifest = large_rows(samples, block)
    window, batch = draw(st.integers(1, 2 * samples)), draw(st.integers(1, 50))
    epochs = epochs_of(manifest, usable, window, batch, draw(st.integers(0, 2**63)))
    return Case(manifest, usable, batch, epochs)


def read_at(plan: EpochPlan, manifest: Manifest, usable: list[int]) -> dict[int, int]:
    """Every usable sample -> which piece holds it."""
    found: dict[int, int] = {}
    wanted = set(usable)
    for number, piece in enumerate(plan.pieces):
        rows = range(len(manifest.rows(piece.block)))
        assert piece.rows.step == 1 and 0 <= piece.rows.start < piece.rows.stop <= len(rows)
        for sample in manifest.samples_of(piece.block)[piece.rows.start : piece.rows.stop].tolist():
            assert sample not in found
            found[sample] = number
    assert wanted <= set(found)
    return {sample: number for sample, number in found.items() if sample in wanted}


@settings(max_examples=150)
@given(case(), st.integers(0, 1000))
def test_a_plan_keeps_its_promises(made: Case, epoch: int) -> None:
    usable, epochs = made.usable, made.epochs
    plan = epochs.plan(epoch)
    piece_of = read_at(plan, made.manifest, usable)
    sizes = np.bincount(list(piece_of.values()), minlength=len(plan.pieces))

    steps = [step.tolist() for step in plan.steps]
    flat = [sample for step in steps for sample in step]
    starts = np.cumsum([0, *map(len, steps)]).tolist()
    assert sorted(flat) == usable and all(step.dtype == np.int64 for step in plan.steps)
    as_ever = split_batches(np.array(usable), made.batch_size)
    assert [len(step) for step in steps] == [len(batch) for batch in as_ever]
    assert epochs.steps(epoch) == len(plan.ready) == len(plan.begin) == len(steps)
    assert all((np.diff(values) >= 0).all() for values in (plan.ready, plan.begin))

    resident = read = 0
    for number, step in enumerate(steps):
        resident += int(sizes[read : plan.ready[number]].sum())
        read = int(plan.ready[number])
        assert resident <= plan.capacity <= len(usable)
        assert all(piece_of[sample] < read for sample in step)
        assert all(piece_of[sample] >= plan.begin[number] for sample in step)
        resident -= len(step)
        assert plan.still_needed(number).tolist() == flat[starts[number] :]
    assert resident == 0 and plan.still_needed(len(steps)).tolist() == []
    if epochs.layout:
        # Nothing is read before it is needed, and no piece is read for nothing.
        assert plan.ready[-1] == len(plan.pieces) and sizes.min() > 0
        for number, start in enumerate(starts[:-1]):
            used = flat[: starts[number + 1]]
            assert plan.ready[number] == 1 + max(piece_of[sample] for sample in used)
            assert plan.begin[number] == min(piece_of[sample] for sample in flat[start:])


@given(case(), st.integers(0, 1000))
def test_a_plan_is_a_pure_function(made: Case, epoch: int) -> None:
    first = made.epochs.plan(epoch)
    made.epochs.plan(epoch + 1)
    again = made.epochs.plan(epoch)
    assert list(first.pieces) == list(again.pieces)
    for name in ("ready", "begin"):
        assert getattr(first, name).tolist() == getattr(again, name).tolist()
    assert [s.tolist() for s in first.steps] == [s.tolist() for s in again.steps]


@given(st.integers(1, 300), st.integers(1, 40), st.integers(1, 50), st.integers(0, 2**63))
def test_a_view_that_fits_is_read_whole_and_shuffled_as_ever(
    samples: int, block: int, batch_size: int, seed: int
) -> None:
    manifest, usable = large_rows(samples, block), np.arange(0, samples, 2)
    whole = -(-samples // block) * block
    plan = (epochs := epochs_of(manifest, usable, whole, batch_size, seed)).plan(3)
    assert epochs.layout == []
    assert [(p.block, len(p.rows)) for p in plan.pieces] == [
        (block, len(manifest.rows(block))) for block in range(manifest.blocks)
    ]
    expected = split_batches(epoch_order(usable, seed, 3), batch_size)
    assert [s.tolist() for s in plan.steps] == [s.tolist() for s in expected]
    assert set(plan.ready) == {manifest.blocks} and set(plan.begin) == {0}
    if manifest.blocks > 1:
        assert epochs_of(manifest, usable, whole - 1, batch_size, seed).layout != []


def test_without_a_cache_a_plan_has_no_pieces() -> None:
    plan = Epochs(None, np.arange(10), [], 4, 1).plan(2)
    expected = split_batches(epoch_order(np.arange(10), 1, 2), 4)
    assert [s.tolist() for s in plan.steps] == [s.tolist() for s in expected]
    assert list(plan.pieces) == [] and plan.ready.tolist() == [0, 0, 0]


def test_the_order_of_a_window_never_changes() -> None:
    """A run that was begun with one version goes on with the next."""
    epochs = epochs_of(large_rows(24, 8), range(24), window=16, batch_size=4, seed=7)
    plan = epochs.plan(1)
    assert epochs.layout == [16, 1]
    assert [step.tolist() for step in plan.steps] == [
        [1, 20, 15, 6], [9, 23, 13, 5], [18, 17, 4, 11], [12, 3, 16, 10], [7, 22, 19, 2],
        [0, 8, 21, 14],
    ]  # fmt: skip
    assert plan.ready.tolist() == [4, 13, 15, 23, 23, 24]


@pytest.mark.parametrize("seed_and_epoch", [(7, 2), (8, 1)])
def test_another_seed_or_epoch_reads_and_uses_in_another_order(
    seed_and_epoch: tuple[int, int],
) -> None:
    def plan(seed: int, epoch: int) -> EpochPlan:
        return epochs_of(large_rows(240, 8), range(240), 60, 6, seed).plan(epoch)

    mine, other = plan(7, 1), plan(*seed_and_epoch)
    assert list(mine.pieces) != list(other.pieces)
    assert [s.tolist() for s in mine.steps] != [s.tolist() for s in other.steps]
