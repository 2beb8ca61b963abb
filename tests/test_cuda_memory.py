"""On a real GPU: memory does not grow from epoch to epoch, and the host waits for no step."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import shared.device
import shared.epochs.staging.views
import train.loop
from shared.device import side_stream
from shared.epochs.val_batches import Labelled
from tests.on_gpu import BATCH, DEVICE, SAMPLES, Made, make_caches, needs_gpu, parsed, setup_of
from train.accuracy import Accuracy, evaluate_all
from train.input import Input, open_input
from train.state import TrainState
from train.step import train_step
from train.sums import step_sums

pytestmark = needs_gpu
MIB = 2**20


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_caches(tmp_path_factory.getbasetemp())


def reserved_after_epochs(made: Made, out: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes that the allocator holds after each of 8 epochs of train/run.py in this process."""
    reserved: list[int] = []
    validate = train.loop.validate

    def noted(*arguments: Any) -> tuple[dict[str, Any], Accuracy]:
        found = validate(*arguments)
        reserved.append(torch.cuda.memory_reserved())
        return found

    monkeypatch.setattr(train.loop, "validate", noted)
    torch.cuda.empty_cache()
    # Views and batches are above 1 MiB each, for which the allocator takes 20 MiB a stream.
    flags = (*made.flags(), "--epochs", 8, "--batch-size", 512, "--out", out)
    assert train.loop.run(parsed(*flags)) == 0
    assert len(reserved) == 8
    return reserved


def test_reserved_memory_does_not_grow(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    homes: list[torch.device] = []
    home = shared.epochs.staging.views.home_of_views

    def noted(device: torch.device, num_bytes: int) -> torch.device:
        homes.append(home(device, num_bytes))
        return homes[-1]

    monkeypatch.setattr(shared.epochs.staging.views, "home_of_views", noted)
    side_stream.cache_clear()
    reserved = reserved_after_epochs(made, tmp_path / "run", monkeypatch)
    assert [where.type for where in homes] == [DEVICE], "targets lie on the GPU"
    assert max(reserved[3:]) - reserved[2] < 20 * MIB, [size / MIB for size in reserved]
    assert side_stream.cache_info().currsize == 2, "one stream for views, one for pixels"


def test_reserved_memory_would_grow_with_new_streams(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control of the test above: pixels are copied in a new stream in every epoch."""
    monkeypatch.setattr(shared.device, "side_stream", lambda device, _: torch.cuda.Stream(device))
    reserved = reserved_after_epochs(made, tmp_path / "run", monkeypatch)
    assert reserved[-1] - reserved[2] > 60 * MIB, [size / MIB for size in reserved]


def test_side_streams_are_one_an_object() -> None:
    device = torch.device(DEVICE, 0)
    views, pixels = (side_stream(device, purpose) for purpose in ("views", "pixels"))
    assert side_stream(device, "views") is views and side_stream(device, "pixels") is pixels
    streams = {stream.cuda_stream for stream in (views, pixels, torch.cuda.default_stream(device))}
    assert len(streams) == 3


@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
@pytest.mark.parametrize(
    ("store", "teacher"), [("zarr", "cached"), ("zarr", "live"), ("webdataset", "cached")]
)
def test_the_host_waits_for_no_step(made: Made, store: str, teacher: str) -> None:
    """From a batch in the loader to averaged weights and sums."""
    flags = ("--teacher", teacher, "--batch-size", BATCH, "--epochs", 1, "--ema", 0.9)
    setup = setup_of(made, *flags, "--precision", "bf16", store=store)
    feed: Input = open_input(setup)
    state = TrainState(setup, feed.layout)
    at = state.start()
    setup.student.train()
    weights = setup.recipe.weights(0)
    try:
        for pixels, batch in feed.batches(0):
            x = setup.normalisation(pixels)
            logits, losses = train_step(
                setup.student, setup.optimizer, setup.recipe, weights, x, batch, "bf16"
            )
            assert state.average is not None
            state.average.update(setup.student.backbone)
            at.sums += step_sums(setup.recipe, batch, logits, losses)
            at.step += 1
            if at.step == 3:  # by then all that is made once is there
                torch.cuda.set_sync_debug_mode("error")
    finally:
        torch.cuda.set_sync_debug_mode("default")
        feed.close()
    assert at.step == feed.steps(0) > 20
    assert at.sums[-2].item() == SAMPLES and at.sums.isfinite().all()


@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
def test_the_host_waits_for_no_val_batch(made: Made) -> None:
    """Of averaged and raw weights, from the loader to the sums; it waits once, at the end."""
    setup = setup_of(made, "--batch-size", 16, "--ema", 0.9, "--precision", "bf16")
    feed = open_input(setup)
    state = TrainState(setup, feed.layout)
    rows: list[int] = []

    def watched() -> Iterator[Labelled]:
        for batch in feed.val_batches():
            rows.append(len(batch.labels))
            if len(rows) == 3:  # by then all that is made once is there
                torch.cuda.set_sync_debug_mode("error")
            yield batch
        torch.cuda.set_sync_debug_mode("default")

    try:
        found = evaluate_all(
            state.evaluated, watched(), setup.normalisation, setup.device, None, "bf16", 16
        )
    finally:
        torch.cuda.set_sync_debug_mode("default")
        feed.close()
    assert len(rows) > 20 and min(rows) < 16, "the last batch is padded"
    assert [result.samples for result in found] == [sum(rows)] * 2
