"""What tests on a real GPU share: caches made there, and flags for them. About three minutes:

    python -m pytest tests/test_cuda_*.py -v --durations 0

Training on a GPU is not deterministic to the bit (backward passes add up in any order), so runs are
compared within bounds; what the teacher says is compared bit for bit.
"""

import argparse
import functools
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from tests.helpers import run_precompute, write_teacher
from train.flags import add_flags
from train.setup import Setup, make_setup

DEVICE = "cuda"
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
CLASSES, SAMPLES, BATCH = 10, 1442, 64  # of digits; BATCH: precompute's
RECIPE = "s_resnet18.t_resnet34.cd.ce.kdv2"  # every kind of loss, all with a weight


@dataclass(frozen=True)
class Made:
    folder: Path

    def flags(self, store: str = "zarr") -> tuple[object, ...]:
        """A small rate, so that two runs stay close."""
        place = ("--cache", self.folder / store, "--device", DEVICE, "--workers", 2)
        return (*place, "--recipe", RECIPE, "--lr", 0.0001)


@functools.cache
def make_caches(base: Path) -> Made:
    """Digits seen by the teacher on the GPU: zarr with its very bits, view shards with `tiny`.

    One a process, which all files share: it is only read.
    """
    folder = Path(tempfile.mkdtemp(prefix="made", dir=base))
    write_teacher(folder / "teacher.pt", "resnet18", CLASSES)
    for store, codec, views in (("zarr", "exact", 3), ("webdataset", "tiny", 2)):
        run_precompute(
            *("--images", "digits", "--weights", folder / "teacher.pt", "--teacher", "resnet18"),
            *("--format", store, "--codec", codec, "--views", views, "--block", 512),
            *("--batch-size", BATCH, "--device", DEVICE, "--workers", 2),
            *("--cache", folder / store),
        )
    return Made(folder)


def setup_of(made: Made, *flags: object, store: str = "zarr") -> Setup:
    return make_setup(parsed(*made.flags(store), *flags))


def parsed(*flags: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return parser.parse_args([str(flag) for flag in flags])
