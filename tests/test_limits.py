"""What the machine refuses is told in one line."""

import errno

import pytest
import torch

from shared.limits import limit_line


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
