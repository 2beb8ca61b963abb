"""Conversions as tests run them, and caches of random numbers for them."""

import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

import precompute.convert
from shared.errors import run_command
from tests.helpers import Finished
from tests.small_cache import make_cache, make_manifest

CONVERT = "precompute/convert.py"
PAIRS = [("exact", "half"), ("exact", "compact"), ("exact", "tiny"), ("half", "compact")]


def convert(cache: object, to: object, codec: str, *flags: object) -> Finished:
    """The command in this process, to save its start; the kills are of real ones."""
    arguments = [CONVERT, "--cache", cache, "--to", to, "--codec", codec, *flags]
    out, error = StringIO(), StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(out),
        redirect_stderr(error),
        pytest.raises(SystemExit) as ended,
    ):
        patch.setattr(sys, "argv", [str(argument) for argument in arguments])
        run_command(precompute.convert.main)
    assert isinstance(ended.value.code, int)
    return Finished(ended.value.code, out.getvalue(), error.getvalue())


def require_done(done: Finished, blocks: int) -> None:
    assert (done.returncode, "error" in done.stderr) == (0, False), (done.stdout, done.stderr)
    assert f": {blocks} blocks converted from " in done.stdout


def make_pair(folder: Path, store: str = "zarr", samples: int = 10, views: int = 2) -> None:
    """`folder`/exact, and `folder`/half that a conversion must equal; blocks of 4."""
    for codec in ("exact", "half"):
        manifest = make_manifest(codec=codec, store=store, samples=samples, views=views)
        make_cache(folder / codec, manifest)


def flip_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
