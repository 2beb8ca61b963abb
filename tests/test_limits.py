"""What the machine refuses, in one line; names in messages; room in shared memory; workers."""

import errno
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from shared import device
from shared.device import default_workers
from shared.errors import InputError, StorageError, _told_by_main_thread, printable
from shared.images.source import open_source
from shared.limits import limit_line
from shared.loaders import shared_memory as shm
from shared.loaders import worker
from shared.loaders.pixel_loader import Draw, PixelLoader, Request
from shared.loaders.worker import Failed, begin_worker, received
from tests.helpers import (
    ROOT,
    STUDENT,
    TEACHER,
    require_refused,
    run,
    run_precompute,
    write_image_folder,
    write_teacher,
)
from tests.test_loader import indices

CUDA, CPU = torch.device("cuda"), torch.device("cpu")


def torch_error() -> Exception:
    return RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: "
        "you tried to allocate 4000000000 bytes. Error code 12 (Cannot allocate memory)\nmore"
    )


@pytest.mark.parametrize(
    ("error", "parts"),
    [
        (MemoryError(), ["not enough memory (MemoryError)", "a smaller --batch-size"]),
        (torch_error(), ["not enough memory ([enforce fail", "fewer --workers"]),
        (torch.OutOfMemoryError("CUDA out of memory. Tried"), ["not enough memory (CUDA out of"]),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), ["not enough memory"]),
        (ImportError("libx.so: failed to map segment from shared object"), ["not enough memory"]),
        (RuntimeError("std::bad_alloc"), ["not enough memory"]),
        (RuntimeError("could not create a primitive"), ["not enough memory (could not create a"]),
        (
            RuntimeError("DataLoader worker (pid 12) is killed by signal: Killed. "),
            ["a loader worker was killed or ended", "fewer --workers or a smaller --batch-size"],
        ),
        (
            RuntimeError("DataLoader worker (pid(s) 12, 13) exited unexpectedly"),
            ["a loader worker was killed"],
        ),
        (RuntimeError("Pin memory thread exited unexpectedly"), ["a loader worker was killed"]),
        (
            RuntimeError("DataLoader worker (pid 1) is killed by signal: Bus error. It is\\nmore"),
            ["no room in shared memory (/dev/shm)", "--shm-size"],
        ),
        (
            RuntimeError("DataLoader worker (pid 1) exited unexpectedly with exit code 24. Det"),
            ["too many open files (in a loader worker)", "ulimit -n"],
        ),
        (
            RuntimeError("DataLoader worker (pid 1) exited unexpectedly with exit code 28. Det"),
            ["no room in shared memory"],
        ),
        (
            RuntimeError("unable to resize file </torch_1_2_1> to the right size: File too large"),
            ["a file cannot be used (unable to resize", "make room"],
        ),
        (OSError(errno.EMFILE, "Too many open files"), ["too many open files", "ulimit -n"]),
        (RuntimeError("received 0 items of ancdata"), ["too many open files"]),
        (RuntimeError("can't start new thread"), ["no more processes or threads", "ulimit -u"]),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), ["no more processes"]),
        (OSError(errno.ENOSPC, "No space left on device", "/x"), ["'/x'", "make room"]),
        (OSError(errno.EROFS, "Read-only file system", "/x"), ["'/x'", "allow access"]),
    ],
)
def test_each_lack_is_told(error: Exception, parts: list[str]) -> None:
    line = limit_line(error)
    assert line is not None and "\n" not in line
    assert "start the same command again" in line
    for part in parts:
        assert part in line
    try:
        try:
            raise error
        except Exception:
            raise SystemError("it failed somehow")  # noqa: B904
    except SystemError as wrapped:
        assert limit_line(wrapped) == line


@pytest.mark.parametrize(
    "error",
    [
        ValueError("out of memory"), RuntimeError("shapes differ"), KeyError("x"),
        OSError(errno.ENOENT, "No such file", "x"), AssertionError(), ImportError("no module"),
    ],
)  # fmt: skip
def test_our_own_mistakes_keep_their_traceback(error: Exception) -> None:
    assert limit_line(error) is None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, ümlaut, 猫", "plain, ümlaut, 猫"),
        ("a\nerror: b", "a\\nerror: b"),
        ("\x1b[31mred\r", "\\x1b[31mred\\r"),
        ("\udcff", "\\udcff"),
        ("\u202egnp", "\\u202egnp"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown
    shown.encode()


def test_an_error_of_a_worker_is_the_same_error_here() -> None:
    for error in (InputError("a\nb"), StorageError("s"), OSError(errno.EIO, "I/O error", "/x")):
        try:
            raise error
        except Exception as caught:
            failed = pickle.loads(pickle.dumps(Failed.of(caught)))
        with pytest.raises(type(error)) as found:
            list(received(iter([failed])))
        assert str(found.value) == str(error)
        assert "test_limits.py" in found.value.__notes__[0]
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


NAME = b"\x1b[31m\xff\nerror: all is well.jpg"  # escapes, no UTF-8, a line of its own


@pytest.fixture
def odd_names(tmp_path: Path) -> Path:
    write_image_folder(tmp_path / "images", classes=2, train=3, val=1)
    write_teacher(tmp_path / "teacher.pt", "cifar_resnet20", 2)
    bad = os.fsencode(tmp_path / "images/train/class0") + b"/" + NAME
    Path(os.fsdecode(bad)).write_bytes(b"no image")
    return tmp_path


@pytest.mark.parametrize("workers", [0, 1])
def test_a_name_hides_no_rule_and_ends_no_run(odd_names: Path, workers: int) -> None:
    flags = (
        *("--images", odd_names / "images", "--weights", odd_names / "teacher.pt", "--views", 1),
        *(*TEACHER, "--size", 32, "--cache", odd_names / "cache"),
        *("--workers", workers),
    )
    done = run_precompute(*flags, check=False)
    require_refused(done, " does not decode (", r"class0/\x1b[31m\udcff\nerror: all is well")
    done = run_precompute(*flags, "--skip-bad", 0.2, check=False)
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr
    assert r"skipped class0/\x1b[31m\udcff\nerror: all is well.jpg: " in done.stdout
    packed = run(
        *("precompute/pack.py", "--images", odd_names / "images", "--split", "train"),
        *("--to", odd_names / "packed", "--workers", workers, "--skip-bad", 0.2),
    )
    assert r"skipped class0/\x1b[31m\udcff\nerror" in packed.stdout
    out = Path(os.fsdecode(os.fsencode(odd_names) + b"/run\xff$x_$"))
    done = run(
        *(
            "train/run.py",
            *STUDENT,
            "--cache",
            odd_names / "cache",
            "--epochs",
            1,
            "--batch-size",
            4,
        ),
        *("--lr", 0.01, "--workers", workers, "--out", out),
    )
    assert done.stderr == "" and (out / "done").exists()


# Workers and shared memory


def test_default_workers_are_this_processs_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    for cores, processes, workers in (
        (64, None, 16), (64, "8", 8), (64, "2", 16), (6, None, 6), (3, "8", 1), (1, "1", 1),
    ):  # fmt: skip
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid, cores=cores: set(range(cores)))
        monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
        if processes is not None:
            monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
        assert default_workers(CUDA) == workers
        assert default_workers(CPU) == 0
    for wrong in ("0", "x", "-1"):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", wrong)
        with pytest.raises(InputError, match="LOCAL_WORLD_SIZE must be 1 or more"):
            device.processes_here()


def test_room_in_shared_memory() -> None:
    sample = 3 * 224**2
    assert shm.lacking(0, 256, sample, 8, 0, 0) is None
    needed = (2 * 16 + 1) * 256 * sample
    assert shm.lacking(16, 256, sample, 1, needed, needed) is None
    line = shm.lacking(16, 256, sample, 1, 64 * 2**20, 64 * 2**20)
    assert line is not None and shm.lacking(16, 256, sample, 1, needed, needed - 1) is not None
    assert "/dev/shm has 67.1 MB free, and 16 workers with batches of 256 need 1.27 GB" in line
    assert "--shm-size" in line and "fewer --workers" in line and "--batch-size" in line
    assert shm.lacking(16, 256, sample, 8, 8 * needed, 8 * needed) is None
    line = str(shm.lacking(16, 256, sample, 8, 8 * needed - 1, needed))
    assert "/dev/shm has 10.2 GB, and 8 processes with 16 workers each" in line
    assert "need 10.2 GB" in line


def test_what_the_other_processes_have_in_flight_does_not_count_twice() -> None:
    """The last of eight looks when seven have filled their part, at any epoch of a long run."""
    sample = 3 * 224**2
    needed = (2 * 16 + 1) * 256 * sample
    for others in range(8):
        assert shm.lacking(16, 256, sample, 8, 8 * needed, (8 - others) * needed) is None


def test_the_loaders_ask_for_room(
    image_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source = open_source(str(image_folder), "train")
    request = Request(0, indices(0, 1), Draw("center", 0, 0))
    monkeypatch.setattr(
        os, "statvfs", lambda path: os.statvfs_result((1, 1, 1, 1, 1, 1, 1, 1, 1, 1))
    )
    with pytest.raises(InputError, match=r"shared memory is too small: /dev/shm has 1 B free"):
        PixelLoader((source,), 16, 1, pin_memory=False).batches([request])
    list(PixelLoader((source,), 16, 0, pin_memory=False).batches([request]))
    monkeypatch.setattr(shm, "SHM", str(tmp_path / "none"))
    monkeypatch.undo()
    list(PixelLoader((source,), 16, 1, pin_memory=False).batches([request]))
    assert sys.platform != "linux" or os.path.isdir("/dev/shm")
