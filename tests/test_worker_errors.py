"""Errors of loader workers come out whole; a worker that was lost is one line."""

import errno
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from shared.errors import InputError, StorageError, _told_by_main_thread
from shared.limits import limit_line
from shared.loaders import worker
from shared.loaders.pixel_loader import Draw, PixelLoader, Request
from shared.loaders.worker import Failed, begin_worker, received
from tests.loading import indices
from tests.processes import ROOT

CUDA = torch.device("cuda")


def test_an_error_of_a_worker_is_the_same_error_here() -> None:
    for error in (InputError("a\nb"), StorageError("s"), OSError(errno.EIO, "I/O error", "/x")):
        try:
            raise error
        except Exception as caught:
            failed = pickle.loads(pickle.dumps(Failed.of(caught)))
        with pytest.raises(type(error)) as found:
            list(received(iter([failed])))
        assert str(found.value) == str(error)
        assert "test_worker_errors.py" in found.value.__notes__[0]
        if isinstance(error, OSError):
            assert found.value.errno == errno.EIO  # type: ignore[attr-defined]
    assert list(received(iter([3]))) == [3]


def test_a_worker_that_ended_while_it_handed_over() -> None:
    def batches() -> Iterator[int]:
        yield 1
        raise EOFError

    with pytest.raises(InputError, match="a loader worker was killed"):
        list(received(batches()))


class CutOff:
    """What a worker hands over and no parent can take."""

    def __reduce__(self) -> tuple[Callable[[], object], tuple[()]]:
        return _end_of_file, ()


def _end_of_file() -> object:
    raise EOFError


class Cuts(Dataset[CutOff]):
    def __getitem__(self, index: int) -> CutOff:
        return CutOff()

    def __len__(self) -> int:
        return 4


def test_a_worker_that_ended_while_torchs_thread_took_its_batch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """That thread runs beside a GPU only, of which torch is told here."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: CUDA)
    for name in ("current_device_index", "set_device_index"):
        monkeypatch.setattr(torch.accelerator, name, lambda *index: 0)
    monkeypatch.setattr(threading, "excepthook", _told_by_main_thread)
    loader = DataLoader(
        Cuts(), batch_size=None, num_workers=1, pin_memory=True, worker_init_fn=begin_worker
    )
    with pytest.raises(RuntimeError, match="Pin memory thread exited") as found:
        list(received(iter(loader)))
    assert "a loader worker was killed or ended" in str(limit_line(found.value))
    assert capsys.readouterr().err == ""
    thread = threading.Thread(target=_end_of_file)
    thread.start()
    thread.join()
    assert "EOFError" in capsys.readouterr().err, "of any other thread it is told"


class Odd:
    """A source whose images cannot be read."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def read(self, index: int) -> bytes:
        raise self.error

    def __len__(self) -> int:
        return 3


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    "error", [StorageError("down\nfor good"), OSError(errno.EMFILE, "Too many"), MemoryError("m")]
)
def test_errors_come_out_of_loader_workers_whole(workers: int, error: Exception) -> None:
    loader = PixelLoader((Odd(error),), 16, workers, pin_memory=False)  # type: ignore[arg-type]
    with pytest.raises(type(error)) as caught:
        list(loader.batches([Request(0, indices(0), Draw("center", 0, 0))]))
    assert str(caught.value) == str(error)
    assert getattr(caught.value, "errno", None) == getattr(error, "errno", None)


LOST = "RuntimeError('DataLoader worker (pid 1) is killed by signal: Killed. ')"


@pytest.mark.parametrize(("error", "told"), [(LOST, False), ("RuntimeError('ours')", True)])
def test_a_lost_worker_is_no_traceback_out_of_a_destructor(error: str, told: bool) -> None:
    """torch's handler of SIGCHLD raises wherever the main thread is."""
    code = (
        "from shared.errors import run_command\n"
        "class Odd:\n"
        f"    def __del__(self): raise {error}\n"
        "run_command(lambda: 0 if Odd() else 1)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and ("Traceback" in done.stderr) == told
    assert told or done.stderr == ""


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), 1, False),
        (EOFError(), 1, False),
        (OSError(errno.EMFILE, "Too many open files"), errno.EMFILE, False),
        (KeyError("ours"), 1, True),
    ],
)
def test_what_a_thread_of_a_worker_stumbles_over(
    error: Exception,
    code: int,
    told: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its parent or another worker was killed while one handed a batch over."""
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    worker._give_up(error)
    assert codes == [code] and bool(capsys.readouterr().err) == told
