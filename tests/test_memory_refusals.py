"""Before the teacher runs: blocks that cannot fit are refused, a view that cannot is noted."""

import sys
from pathlib import Path

import pytest

import precompute.run
from precompute import memory
from precompute.memory import require_memory
from shared.errors import InputError
from shared.store import view_memory
from tests.plans import Inputs, inputs

__all__ = ["inputs"]  # a fixture of the tests below


class Started(Exception):
    pass


@pytest.fixture
def start(inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A run that raises Started where it would create the cache."""

    def create(*_: object) -> None:
        raise Started

    flags = (*inputs.flags("zarr", "half"), "--cache", tmp_path / "cache")
    monkeypatch.setattr(sys, "argv", ["run.py", "--split", "train", *map(str, flags)])
    monkeypatch.setattr("precompute.make.create_cache", create)
    return monkeypatch


def test_blocks_that_do_not_fit_are_refused(start: pytest.MonkeyPatch, tmp_path: Path) -> None:
    start.setattr(memory, "memory_bytes", lambda: 10**6)
    with pytest.raises(InputError) as caught:
        precompute.run.main()
    # 6 blocks of 128 rows of 2 x (3 + 960) + 29 bytes
    assert str(caught.value) == (
        "blocks of 128 images do not fit into memory: 6 of them at 1.96 kB an image take 1.5 MB, "
        "and this machine has 1 MB; give --block 42, a smaller --codec or fewer --targets"
    )
    assert not list(tmp_path.iterdir())


def test_the_block_that_is_named_fits(inputs: Inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory_bytes", lambda: 10**6)
    require_memory(inputs.job("zarr", "half", "--block", 42).manifest)


def test_processes_of_a_machine_count(start: pytest.MonkeyPatch) -> None:
    start.setattr(memory, "memory_bytes", lambda: 2 * 10**6)
    with pytest.raises(Started):
        precompute.run.main()
    start.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(InputError, match="in 2 processes"):
        precompute.run.main()


def test_a_view_that_does_not_fit_is_noted(
    start: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    start.setattr(view_memory, "WINDOW", 300_000)
    with pytest.raises(Started):
        precompute.run.main()
    assert capsys.readouterr().err == (
        "NOTE: the targets of 240 images with codec half take 462 kB a view (1,926 bytes an "
        "image), and training keeps at most 300 kB in memory: it goes through a view in windows "
        "of 65 % of it; what fits: --codec tiny (234 kB a view), --format webdataset, which is "
        "streamed\n"
    )


def test_a_view_that_fits_needs_no_note(
    start: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Started):
        precompute.run.main()
    assert capsys.readouterr().err == ""
