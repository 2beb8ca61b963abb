"""A precompute run to plan: its images, its teacher and its flags, by format and codec."""

import argparse
from dataclasses import dataclass
from pathlib import Path

import pytest

from precompute.flags import add_flags
from precompute.job import Job, make_job
from tests.helpers import write_image_folder, write_teacher

VIEWS = 3
KINDS = [("zarr", "half"), ("webdataset", "compact")]  # format, codec


@dataclass(frozen=True)
class Inputs:
    folder: Path

    def flags(self, store: str, codec: str, *more: object) -> tuple[object, ...]:
        return (
            *("--images", self.folder / "images", "--weights", self.folder / "teacher.pt"),
            *(
                "--teacher",
                "resnet18",
                "--size",
                32,
                "--device",
                "cpu",
                "--cache",
                self.folder / "c",
            ),
            *("--views", VIEWS, "--block", 128, "--format", store, "--codec", codec, *more),
        )

    def job(self, store: str, codec: str, *more: object) -> Job:
        parser = argparse.ArgumentParser()
        add_flags(parser)
        flags = ["--split", "train", *map(str, self.flags(store, codec, *more))]
        return make_job(parser.parse_args(flags))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    folder = tmp_path_factory.mktemp("plan")
    write_image_folder(folder / "images", classes=3, train=80, val=4)
    write_teacher(folder / "teacher.pt", "resnet18", 3)
    return Inputs(folder)


@pytest.fixture(params=KINDS, ids=lambda kind: "-".join(kind))
def kind(request: pytest.FixtureRequest) -> tuple[str, str]:
    kind: tuple[str, str] = request.param
    return kind
