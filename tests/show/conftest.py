"""A cache of real images, and the page and picture of it."""

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path

import pytest

from precompute.show import make_parser
from precompute.shown import show
from tests.self_contained import Read, read_page
from tests.verified import World, make_world


@dataclass(frozen=True)
class Shown:
    world: World
    page: Read
    text: str
    picture: Path
    worst: Path
    stdout: str


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def shown(world: World, tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """Made once, in this process: only read, please."""
    folder = tmp_path_factory.mktemp("shown")
    page, picture, worst = folder / "page.html", folder / "new" / "page.png", folder / "worst.csv"
    flags = ["--cache", world.cache, "--out", page, picture, "--samples", 4, "--seed", 3]
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        show(make_parser().parse_args([*map(str, flags), "--worst", str(worst)]))
    text = page.read_text()
    return Shown(world, read_page(text), text, picture, worst, told.getvalue())
