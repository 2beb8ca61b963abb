"""Only regular files are read: whatever else stands under a name is an error at once."""

import os
import pickle
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.files.regular import NotRegular, TooLarge, open_regular, read_regular, regular_size

LIMIT = 100


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


ODD: dict[str, tuple[Callable[[Path], object], str]] = {
    "folder": (Path.mkdir, "a folder"),
    "fifo": (os.mkfifo, "a FIFO"),
    "socket": (make_socket, "a socket"),
    "zeros": (lambda path: path.symlink_to("/dev/zero"), "a device"),
    "terminal": (lambda path: path.symlink_to("/dev/tty"), "a device"),
    "dangling": (lambda path: path.symlink_to("nowhere"), "a link to nothing"),
    "loop": (lambda path: path.symlink_to(path.name), "a link to itself"),
    "link to a folder": (lambda path: path.symlink_to("."), "a folder"),
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("read", [open_regular, lambda path: read_regular(path, LIMIT)])
def test_what_is_no_regular_file_is_refused_at_once(
    tmp_path: Path, kind: str, read: Callable[[str], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # paths of sockets are short
    make, text = ODD[kind]
    make(Path("odd"))
    with pytest.raises(NotRegular) as caught:
        read("odd")
    assert text in caught.value.strerror
    assert regular_size("odd") == -1
    copy = pickle.loads(pickle.dumps(caught.value))  # on its way out of a worker
    assert (type(copy), copy.strerror) == (NotRegular, caught.value.strerror)


def test_regular_files_are_read_up_to_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for size in (0, 1, LIMIT):
        path.write_bytes(b"x" * size)
        assert read_regular(path, LIMIT) == b"x" * size
        assert regular_size(path) == size
    path.write_bytes(b"x" * (LIMIT + 1))
    with pytest.raises(TooLarge, match="101 bytes are more than the limit of 100"):
        read_regular(path, LIMIT)
    (tmp_path / "link").symlink_to(path)
    with open_regular(tmp_path / "link") as file:
        assert file.read() == b"x" * (LIMIT + 1)


def test_a_sparse_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(10 << 40)
    with pytest.raises(TooLarge, match="10,995,116,277,760 bytes"):
        read_regular(path, LIMIT)


def test_a_file_that_says_it_is_empty_is_bounded_too() -> None:
    path = Path("/proc/self/maps")
    if not path.exists():
        pytest.skip("no /proc here")
    with pytest.raises(TooLarge):
        read_regular(path, LIMIT)


def test_a_missing_file_is_a_missing_file(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path / "none" / "file"):
        for act in (open_regular, regular_size):
            with pytest.raises(FileNotFoundError):
                act(path)


def test_a_name_that_changes_in_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A FIFO that takes the place of a file after it was looked at does not hang the reader."""
    path, fifo = tmp_path / "file", tmp_path / "fifo"
    path.write_bytes(b"")
    os.mkfifo(fifo)
    opened: list[int] = []
    before = os.open

    def open_fifo(_: object, flags: int) -> int:
        opened.append(before(fifo, flags))
        return opened[-1]

    monkeypatch.setattr("shared.files.regular.os.open", open_fifo)
    with pytest.raises(NotRegular, match="a FIFO"):
        open_regular(path)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened[0])  # closed


def test_no_more_memory_than_the_file_has_bytes(tmp_path: Path) -> None:
    """`read` allocates what it is asked for, and the limit is no more than a limit."""
    (tmp_path / "file").write_bytes(b"x" * 7)
    assert read_regular(tmp_path / "file", 1 << 60) == b"x" * 7


def test_files_that_say_that_they_are_empty() -> None:
    assert read_regular("/proc/self/mountinfo", 1 << 30).endswith(b"\n")
    with pytest.raises(TooLarge, match="are more than the limit of 3"):
        read_regular("/proc/self/mountinfo", 3)
