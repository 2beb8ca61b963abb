"""Saving in the background: what is saved, in which order, one at a time, and its errors."""

import gc
import os
import signal
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import torch

from shared.errors import InputError
from shared.stop import StopRequest
from tests.runs import load, require_equal
from train.folder import RunFolder
from train.saving import Saver, copies

CPU = torch.device("cpu")


def state(epoch: int = 0, step: int = 1) -> dict[str, Any]:
    weights = torch.arange(6.0).reshape(2, 3)
    return {"epoch": epoch, "step": step, "student": {"w": weights}, "groups": [{"lr": 0.1}]}


class Gate:
    """Halts a function before its first call until it is opened."""

    def __init__(self, act: Callable[..., Any]) -> None:
        self.act, self.reached, self.opened = act, Event(), Event()

    def __call__(self, *arguments: Any) -> Any:
        self.reached.set()
        assert self.opened.wait(60)
        return self.act(*arguments)


def test_what_is_saved_is_the_state_of_the_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The steps that follow change the weights, and the dicts of the optimizer."""
    folder = RunFolder(tmp_path)
    gate = Gate(folder.save_checkpoint)
    monkeypatch.setattr(folder, "save_checkpoint", gate)
    now = state()
    with Saver(folder, StopRequest(), CPU, 0) as saver:
        saver.save(now)
        assert gate.reached.wait(60)
        now["student"]["w"].mul_(-1)
        now["groups"][0]["lr"] = 7
        now["step"] = 2
        assert not (tmp_path / "last.pt").exists()
        gate.opened.set()
    require_equal(load(tmp_path / "last.pt"), state())


def test_views_and_shared_memory(tmp_path: Path) -> None:
    """best.pt is a part of last.pt, and a slice does not bring what it is a slice of."""
    whole = torch.arange(1000.0)
    kernel = torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last)
    (last, best), _ = copies(({"a": whole, "k": kernel}, {"a": whole[:10], "b": whole}), None)
    assert last["a"] is best["b"] and last["a"].data_ptr() != whole.data_ptr()
    assert best["a"].untyped_storage().nbytes() == 40
    assert last["k"].stride() == kernel.stride() and torch.equal(last["k"], kernel)


def test_the_order_in_which_files_appear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is killed between two of them finishes the epoch again, from the last.pt before;
    a file of an older epoch goes when all is written."""
    events: list[str] = []
    replace, unlink = os.replace, Path.unlink

    def noted(source: Path, target: Path) -> None:
        replace(source, target)
        events.append(str(target.relative_to(tmp_path)))

    def removed(path: Path, missing_ok: bool = False) -> None:
        if path.exists():
            events.append(f"removes {path.relative_to(tmp_path)}")
        unlink(path, missing_ok)

    monkeypatch.setattr(os, "replace", noted)
    monkeypatch.setattr(Path, "unlink", removed)
    with Saver(RunFolder(tmp_path), StopRequest(), CPU, 1) as saver:
        saver.save(state(0, 3))
        saver.save(state(1, 0), {"w": torch.zeros(1)}, [])
        saver.save(state(1, 3))
        saver.save(state(2, 0), None, [])
    assert events == [
        *("last.pt", "best.pt", "metrics.jsonl", "epochs/epoch-0000.pt", "last.pt", "last.pt"),
        *("metrics.jsonl", "epochs/epoch-0001.pt", "last.pt", "removes epochs/epoch-0000.pt"),
    ]


def test_one_save_is_in_flight_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, open_now, most = RunFolder(tmp_path), [0], []
    save = folder.save_checkpoint

    def counted(*arguments: Any) -> None:
        open_now[0] += 1
        most.append(open_now[0])
        save(*arguments)
        open_now[0] -= 1

    monkeypatch.setattr(folder, "save_checkpoint", counted)
    with Saver(folder, StopRequest(), CPU, 0) as saver:
        for step in range(20):
            saver.save(state(0, step))
    assert most == [1] * 20 and load(tmp_path / "last.pt")["step"] == 19


@pytest.mark.parametrize("seen_by", ["check", "wait", "save", "end"])
def test_an_error_reaches_the_main_thread(tmp_path: Path, seen_by: str) -> None:
    (tmp_path / "last.pt" / "full").mkdir(parents=True)
    stop = StopRequest()
    with (
        pytest.raises(InputError, match=r"last\.pt cannot be written: Is a directory; nothing"),
        Saver(RunFolder(tmp_path), stop, CPU, 0) as saver,
    ):
        saver.save(state())
        stop.unsaved = False
        if seen_by == "check":
            while True:
                saver.check()
        elif seen_by == "save":
            saver.save(state())
        elif seen_by == "wait":
            saver.wait()
    # Nothing is saved, so a signal is noted, and does not end the process here.
    stop._note(signal.SIGTERM, None)
    assert stop.signal == signal.SIGTERM


def test_another_error_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "last.pt").mkdir()
    with pytest.raises(KeyError), Saver(RunFolder(tmp_path), StopRequest(), CPU, 0) as saver:
        saver.save(state())
        raise KeyError


def test_a_worker_forked_while_a_save_is_in_flight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at the start of an epoch: it has the thread's file open too, and leaves it alone."""
    gate = Gate(os.fsync)
    monkeypatch.setattr(os, "fsync", gate)
    with Saver(RunFolder(tmp_path), StopRequest(), CPU, 0) as saver:
        saver.save(state())
        assert gate.reached.wait(60)
        worker = get_context("fork").Process(target=gc.collect)
        worker.start()
        worker.join(60)
        assert worker.exitcode == 0
        assert [path.name[:5] for path in tmp_path.iterdir()] == [".tmp~"]
        gate.opened.set()
    require_equal(load(tmp_path / "last.pt"), state())
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]
