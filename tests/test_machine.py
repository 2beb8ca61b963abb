"""The memory of a machine is the smallest of its own and the limits of the process's groups."""

import os
from pathlib import Path

import pytest

from shared import machine
from shared.machine import memory_bytes
from shared.units import parse_size, size

OWN = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def with_groups(
    monkeypatch: pytest.MonkeyPatch, folder: Path, lines: str, limits: dict[str, str]
) -> None:
    (folder / "own").write_text(lines)
    for name, text in limits.items():
        (folder / "fs" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "fs" / name).write_text(text)
    monkeypatch.setattr(machine, "OWN", folder / "own")
    monkeypatch.setattr(machine, "CGROUPS", folder / "fs")


@pytest.mark.parametrize(
    ("lines", "limits", "expected"),
    [
        ("0::/jobs/7\n", {"jobs/7/memory.max": "max\n", "jobs/memory.max": "4096\n"}, 4096),
        ("0::/jobs/7\n", {"jobs/7/memory.max": "512\n", "jobs/memory.max": "4096\n"}, 512),
        ("0::/host/path/that/is/not/here\n", {"memory.max": "4096\n"}, 4096),
        (
            "3:cpuset:/jobs\n2:cpu,memory:/jobs\n0::/\n",
            {"memory/jobs/memory.limit_in_bytes": "1024\n", "jobs/memory.max": "1\n"},
            1024,
        ),
        ("2:memory:/\n", {"memory/memory.limit_in_bytes": f"{2**63 - 4096}\n"}, OWN),
        ("0::/jobs\n", {}, OWN),
    ],
)
def test_the_smallest_limit(
    lines: str,
    limits: dict[str, str],
    expected: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_groups(monkeypatch, tmp_path, lines, limits)
    assert memory_bytes() == expected


def test_without_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "OWN", tmp_path / "none")
    assert memory_bytes() == OWN


@pytest.mark.parametrize(
    ("text", "expected"),
    [("512GB", 512e9), ("1.5 TB", 1.5e12), ("64GiB", 2**36), ("3k", 3000), ("17", 17)],
)
def test_sizes_are_read(text: str, expected: float) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize("text", ["", "GB", "0GB", "-1GB", "1PB", "1e9", "many"])
def test_other_texts_are_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="a size must look like 512GB"):
        parse_size(text)


def test_a_printed_size_can_be_read() -> None:
    for number in (1, 999, 12_300, 4.56e9, 7.89e12):
        assert parse_size(size(number)) == pytest.approx(number)
