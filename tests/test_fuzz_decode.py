"""Mutated files through every decode path: pixels or BadImage, never a crash, a hang or a leak.

A case is a pure function of its number. What must hold for each: see `check`. The cases run in
processes of their own, which die at a crash, and which a watchdog inside ends at a hang; either
way the failure shows the number that the process was at. To run a range of cases by hand:

    .venv/bin/python tests/test_fuzz_decode.py FIRST STOP
"""

import faulthandler
import json
import os
import subprocess
import sys
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from shared.errors import BadImage
from shared.pixels.decode import decode, decode_rows, image_size
from tests.mutated_images import mutated

SECONDS = 30  # that a case may take; none takes one
WARM_UP = 1000  # cases, before memory is first measured
GROWTH = 32 * 2**20  # bytes that memory may grow by: less than a leak of one image in ten cases
PROCESSES = 2


def outcome(function: object, *arguments: object) -> NDArray[np.uint8] | str:
    """The pixels, or BadImage's text. Whatever else is raised fails the case."""
    try:
        return function(*arguments)  # type: ignore[operator, no-any-return]
    except BadImage as error:
        assert str(error), "an error says something"
        assert "\n" not in str(error)
        return str(error)


def check(number: int) -> str:
    """Runs one case; returns what became of it."""
    data = mutated(number)
    whole, size = outcome(decode, data), outcome(image_size, data)
    rows = 1 + number % 80
    top = outcome(decode_rows, data, rows)
    if not isinstance(top, str):
        assert top.dtype == np.uint8
        assert top.ndim == 3
        assert len(top) >= min(rows, size[0]), "as many rows as were asked for"
    if isinstance(whole, str):
        if isinstance(top, str):
            assert top == whole, "one text for one damage"
            return "bad"
        # Damage further down. What is above it equals what a decoder makes of it that carries on.
        lenient = simplejpeg.decode_jpeg(data, strict=False) if decodes_at_all(data) else None
        assert lenient is None or np.array_equal(top, lenient[: len(top)])
        return "bad below"
    assert not isinstance(top, str), f"decode takes it, decode_rows does not: {top}"
    assert whole.shape == (*size, 3)
    assert np.array_equal(top, whole[: len(top)])
    try:
        with Image.open(BytesIO(data)) as image:
            reference = np.asarray(image.convert("RGB"))
    except Exception:
        return "Pillow refuses"
    assert np.array_equal(whole, reference), "the pixels are ImageFolder's"
    return "good"


def decodes_at_all(data: bytes) -> bool:
    try:
        simplejpeg.decode_jpeg(data, strict=False)
    except ValueError:
        return False
    return True


def resident_bytes() -> int:
    """0 where there is no /proc: growth is measured on Linux."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGESIZE") if statm.exists() else 0


def run(first: int, stop: int) -> dict[str, int]:
    counts: dict[str, int] = {}
    before = 0
    for number in range(first, stop):
        if number - first == min(WARM_UP, (stop - first) // 2):
            before = resident_bytes()
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        try:
            result = check(number)
        except BaseException as error:
            raise AssertionError(f"case {number}: {type(error).__name__}: {error}") from error
        counts[result] = counts.get(result, 0) + 1
        if number % 100 == 0:
            print(number, flush=True)
    faulthandler.cancel_dump_traceback_later()
    return {**counts, "growth": resident_bytes() - before}


def run_in_processes(cases: int, seconds: float) -> dict[str, int]:
    """Sums of `run` over PROCESSES ranges; `growth` is the largest."""
    edges = [cases * p // PROCESSES for p in range(PROCESSES + 1)]
    running = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__, str(first), str(stop)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for first, stop in pairwise(edges)
    ]
    totals: dict[str, int] = {}
    try:
        for process in running:
            out, err = process.communicate(timeout=seconds)
            lines = out.splitlines()
            assert process.returncode == 0, (
                f"exit code {process.returncode} after case {lines[-1:]}:\n{err[-3000:]}"
            )
            for name, value in json.loads(lines[-1]).items():
                growth = name == "growth"
                totals[name] = (
                    max(totals.get(name, 0), value) if growth else (totals.get(name, 0) + value)
                )
    finally:
        for process in running:
            process.kill()
    return totals


def assert_sound(totals: dict[str, int], cases: int) -> None:
    growth = totals.pop("growth")
    assert sum(totals.values()) == cases
    assert growth < GROWTH
    # Enough of each kind for the checks to have meant something.
    assert totals["good"] > 0.1 * cases
    assert totals["bad"] > 0.1 * cases
    assert totals["bad below"] > 0.002 * cases


def test_2000_mutated_files() -> None:
    assert_sound(run_in_processes(2_000, seconds=120), 2_000)


@pytest.mark.slow
def test_120000_mutated_files() -> None:
    totals = run_in_processes(120_000, seconds=3_600)
    print(totals)
    assert_sound(totals, 120_000)


def test_the_watchdog_ends_a_hang() -> None:
    """And says where it hung."""
    code = (
        "import time; from tests import test_fuzz_decode as fuzz\n"
        "fuzz.SECONDS = 0.2; fuzz.check = lambda number: time.sleep(60); fuzz.run(0, 2)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0
    assert "Timeout" in done.stderr
    assert "in run" in done.stderr


if __name__ == "__main__":
    print(json.dumps(run(int(sys.argv[1]), int(sys.argv[2]))))
