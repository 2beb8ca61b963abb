"""What is no regular file, or a file beyond all measure, in every place where one is read.

    python tests/attack/odd_files.py [ATTEMPTS]

Each must be one line at once, or a bad image that --skip-bad goes past; nothing hangs or fills the
memory. First in this process, place by place; then through the commands themselves.
"""

import itertools
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from shared.errors import BadImage, InputError, StorageError
from shared.files import retry
from tests.attack.bounds import problem_in
from tests.attack.odd_places import Places
from tests.attack.tally import Tally, attempts_wanted, problem_of
from tests.helpers import TEACHER, start

USER = (InputError, StorageError)
DEFAULT = 232
COMMANDS = 4  # of the attempts, started as a user would


def a_socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # paths of sockets are short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)
    os.chdir(here)


def a_sparse_file(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(10 << 30)


ODD: dict[str, Callable[[Path], object]] = {
    "folder": Path.mkdir,
    "fifo": os.mkfifo,
    "socket": a_socket,
    "link to /dev/zero": lambda path: path.symlink_to("/dev/zero"),
    "link to /dev/full": lambda path: path.symlink_to("/dev/full"),
    "link to /dev/random": lambda path: path.symlink_to("/dev/random"),
    "link to nothing": lambda path: path.symlink_to("nowhere"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "link to a folder": lambda path: path.symlink_to("/"),
    "sparse 10 GB": a_sparse_file,
    "link to a file of /proc": lambda path: path.symlink_to("/proc/self/mem"),
    "empty": Path.touch,
}


def replaced(path: Path, make: Callable[[Path], object]) -> Iterator[None]:
    """`path` is something else while the generator stands."""
    aside = path.with_name(".aside")
    path.rename(aside)
    try:
        make(path)
        yield
    finally:
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
        aside.rename(path)


def command_problem(places: Places, number: int) -> str | None:
    """precompute as a user starts it, with and without --skip-bad."""
    skip = number % 2 == 1
    flags: list[object] = [
        "--images",
        places.root / "images",
        "--size",
        32,
        *TEACHER,
    ]
    flags += ["--weights", places.root / "teacher.pt", "--batch-size", 4, "--workers", number % 3]
    flags += ["--cache", places.root / f"cache{number}", "--views", 1]
    done = start(
        "precompute/run.py", "--split", "train", *flags, *(["--skip-bad"] if skip else [])
    ).wait(120)
    # One of six is more than the share that may be bad, where that is checked
    return problem_of(done.returncode, done.stderr, frozenset({0, 2} if skip else {2}))


def main() -> int:
    retry.LOCAL_WAIT /= 100  # what cannot be read at all is tried again
    tally = Tally("odd_files", attempts_wanted(DEFAULT))
    with tempfile.TemporaryDirectory() as folder:
        places = Places(Path(folder))
        for _, act in places.all().values():
            assert problem_in(act) is None, "the places are sound before they are attacked"
        attempts = list(itertools.product(ODD.items(), places.all().items()))
        for (kind, make), (place, (path, act)) in attempts[: max(0, tally.wanted - COMMANDS)]:
            for _ in replaced(path, make):
                # An empty file of class names or a folder of images may be what the user wants
                tally.record(f"{kind} as {place}", problem_in(act, (*USER, BadImage)))
        for number, kind in enumerate(["fifo", "link to /dev/zero", "sparse 10 GB", "socket"]):
            if tally.attempts < tally.wanted:
                for _ in replaced(places.image, ODD[kind]):
                    tally.record(f"precompute: {kind}", command_problem(places, number))
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
