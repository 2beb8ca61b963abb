"""Events for TensorBoard hold the numbers of metrics.jsonl, each epoch once, also after a kill."""

from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from train.logs.scalars import by_epoch
from train.logs.tensorboard import TensorBoard
from train.run_files import read_metrics


def told(folder: Path) -> dict[int, dict[str, float]]:
    """Epoch -> name -> number, as TensorBoard shows them."""
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    found: dict[int, dict[str, float]] = {}
    for name in events.Tags()["scalars"]:
        for event in events.Scalars(name):
            assert name not in found.setdefault(event.step, {}), f"{name} of {event.step} twice"
            found[event.step][name] = event.value
    return found


def require_equal(mine: dict[int, dict[str, float]], theirs: dict[int, dict[str, float]]) -> None:
    """To the float32 of an event."""
    assert {epoch: set(row) for epoch, row in mine.items()} == {
        epoch: set(row) for epoch, row in theirs.items()
    }
    for epoch, row in theirs.items():
        for name, value in row.items():
            assert mine[epoch][name] == np.float32(value), (epoch, name)


def test_events_hold_the_records(resumed: Path) -> None:
    """Epoch 1 was written before the kill and after it: TensorBoard shows the second one."""
    require_equal(told(resumed), by_epoch(read_metrics(resumed)))
    assert len(list((resumed / "tensorboard").iterdir())) == 2, "one for each start"
    assert {"loss/cd", "weight/gkd", "total", "learning_rate"} <= set(told(resumed)[0])
    assert {"cross_entropy/val", "top1/val raw", "seconds_left"} <= set(told(resumed)[1])


@pytest.mark.parametrize("begun", [0, 1, 3])
def test_the_epochs_before_the_first_event_file(whole: Path, tmp_path: Path, begun: int) -> None:
    """Of a run that gets --log tensorboard when it is resumed."""
    records = read_metrics(whole)
    log = TensorBoard(tmp_path, [record for record in records if record["epoch"] < begun])
    for number, record in enumerate(records):
        ends = record is records[-1] or records[number + 1]["epoch"] > record["epoch"]
        if ends and record["epoch"] >= begun:
            log.write(records[: number + 1])
    log.close()
    require_equal(told(tmp_path), by_epoch(records))
