"""Claims: one process gets a block, and those of killed processes are taken over."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from precompute.claims import BEAT, STALE, Claims, tidy
from precompute.process_name import is_alive, is_process_name, own_name
from shared.files.local import LocalFiles
from shared.files.objects import open_files
from tests.helpers import snapshot
from tests.sharing.conftest import MemoryFiles

UNITS = [(0, 0), (1, 0), (0, 1)]
ELSEWHERE = "0123456789abcdef-17-99-0123456789abcdef"  # on another machine


class Time:
    """A clock that moves while one waits, and what happens then."""

    def __init__(self, tick: Callable[[float], object] = lambda now: None) -> None:
        self.now, self.tick = 0.0, tick

    def clock(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds
        self.tick(self.now)


def hold(files: MemoryFiles, owner: str, *units: tuple[int, int]) -> None:
    for view, block in units:
        files.there[f".claim~v{view:04d}-b{block:06d}~0"] = owner.encode()


def test_one_process_gets_a_block(files: MemoryFiles) -> None:
    with Claims(files) as one, Claims(files) as other:
        held, processes = one.held()
        assert (held, processes) == ({}, 2)
        assert one.claim(UNITS, held) == UNITS
        assert other.claim(UNITS, held) == [], "both looked before either claimed"
        held, _ = other.held()
        assert set(held) == set(UNITS) and not any(other.is_free(unit, held) for unit in UNITS)
        one.release(UNITS[0])
        held, _ = other.held()
        assert other.is_free(UNITS[0], held) and other.claim(UNITS[:1], held) == UNITS[:1]
    assert files.there == {}, "claims and counters go with their process"


@pytest.mark.parametrize("where", ["disk", "bucket"])
def test_on_disk_and_in_a_bucket(
    where: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    location = tmp_path if where == "disk" else request.getfixturevalue("s3")
    files = open_files(location, "train")
    with Claims(files) as one, Claims(files) as other:
        assert one.claim(UNITS, {}) == UNITS and other.claim(UNITS, {}) == []
        assert set(other.held()[0]) == set(UNITS)
        assert not other.settle(lambda: UNITS), "this process is alive"
        files.write(".claim~v0002-b000000~0", own_name_of_the_dead().encode())
        assert other.settle(lambda: [(2, 0)])
        assert other.claim([(2, 0)], other.held()[0]) == [(2, 0)]
    assert files.names(".") == []


def own_name_of_the_dead() -> str:
    """The name of a process of this machine with the id of one that lives, started earlier."""
    place, pid, begun, token = own_name().split("-")
    return f"{place}-{pid}-{int(begun) - 1}-{token}"


def test_a_process_that_ended_here_is_known_at_once(files: MemoryFiles) -> None:
    time = Time()
    with Claims(files, time.clock, time.pause) as mine:
        hold(files, own_name_of_the_dead(), *UNITS)
        assert mine.settle(lambda: UNITS) and time.now == 0
        held, _ = mine.held()
        assert mine.claim(UNITS, held) == UNITS
        assert ".claim~v0000-b000000~1" in files.there, "it took over the one of number 0"
        mine.release(UNITS[0])
        assert not any(name.startswith(".claim~v0000-b000000") for name in files.there)


def test_two_that_take_over_do_not_both_get_it(files: MemoryFiles) -> None:
    hold(files, own_name_of_the_dead(), *UNITS)
    with Claims(files) as one, Claims(files) as other:
        assert one.settle(lambda: UNITS) and other.settle(lambda: UNITS)
        before, _ = one.held()
        assert one.claim(UNITS, before) == UNITS and other.claim(UNITS, before) == []
        assert not other.is_free(UNITS[0], other.held()[0])


def test_a_process_elsewhere_is_alive_if_its_counter_moves(files: MemoryFiles) -> None:
    def beat(now: float) -> None:
        files.there[f".alive~{ELSEWHERE}"] = str(int(now / BEAT)).encode()

    beat(100.0)
    hold(files, ELSEWHERE, *UNITS)
    time = Time(lambda now: beat(100.0 + now))
    with Claims(files, time.clock, time.pause) as mine:
        assert not mine.settle(lambda: UNITS)
    assert time.now <= BEAT + 1, "one beat says it"


@pytest.mark.parametrize("left", [b"7", None], ids=["a counter", "no counter"])
@pytest.mark.parametrize("owner", [ELSEWHERE, "not a name", "../../etc/passwd", ""])
def test_a_claim_of_which_nothing_is_heard_becomes_stale(
    files: MemoryFiles, owner: str, left: bytes | None
) -> None:
    hold(files, owner, *UNITS)
    if left is not None:
        files.there[f".alive~{owner}"] = left
    time = Time()
    with Claims(files, time.clock, time.pause) as mine:
        assert mine.settle(lambda: UNITS)
        assert STALE <= time.now < STALE + 1
        assert mine.claim(UNITS, mine.held()[0]) == UNITS


def test_waiting_ends_when_the_other_gives_up_or_finishes(files: MemoryFiles) -> None:
    undone = [(0, 0)]
    for happens, expected in ((files.there.clear, True), (undone.clear, False)):
        undone[:] = [(0, 0)]
        hold(files, ELSEWHERE, (0, 0))
        time = Time(lambda now, act=happens: act())  # type: ignore[misc]
        with Claims(files, time.clock, time.pause) as mine:
            assert mine.settle(lambda: undone) == expected
        assert time.now < 1


def test_names_of_processes() -> None:
    assert is_process_name(own_name()) and own_name() != own_name()
    assert is_alive(own_name()) is True and is_alive(own_name_of_the_dead()) is False
    assert is_alive(ELSEWHERE) is None and is_alive("a-b-c-d") is None
    place, _, begun, token = own_name().split("-")
    with subprocess.Popen(["true"]) as ended:
        pass
    assert is_alive(f"{place}-{ended.pid}-{begun}-{token}") is False


def test_tidy_leaves_what_others_make_and_everything_else(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    for name in ("manifest.json", ".claim~v0000-b000000~notes", ".claim~v0007-b000000~0"):
        files.write(name, b"x")
    kept = snapshot(tmp_path)
    for name in (".claim~v0000-b000000~0", ".claim~v0000-b000000~12", f".alive~{ELSEWHERE}"):
        files.write(name, b"x")
    tidy(files, UNITS)
    assert snapshot(tmp_path) == kept
