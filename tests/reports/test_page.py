"""The report as one HTML page: its tables, pictures, settings and caches."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from tests.helpers import run
from tests.test_report import write_run
from train.recipe_words import in_json
from train.recipes import get_recipe

CACHE = {
    "where": "data/c/train", "codec": "half", "bytes_per_view": 1234.5, "teacher": "resnet34",
    "weights": "IMAGENET1K_V1", "views": 8, "samples": 50000, "size": 32, "policy": "pad-crop",
    "format": "zarr", "tails": [0.25, 0.5],
}  # fmt: skip
NAMES = ("resnet18.ce", "s_resnet18.t_resnet34.cd.ce", "s_resnet18.t_resnet34.cd.ce.lrdv1")


class Cells(HTMLParser):
    """Tables as lists of rows; URLs of all that the page loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.loads: list[str] = []
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]
        self._inside = tag in ("td", "th")
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif self._inside:
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.tables[-1][-1][-1] += data.replace("\N{NO-BREAK SPACE}", " ")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cells, str, str]:
    """The page of three recipes with two seeds each; its text; what the command printed."""
    folder = tmp_path_factory.mktemp("page")
    runs = []
    for number, name in enumerate(NAMES):
        for seed in range(2):
            runs.append(
                write_run(folder / f"<b>{name}-seed{seed}", "", seed, [50, 60 + number + seed])
            )
            recipe = get_recipe(name)
            facts = json.loads((runs[-1] / "run.json").read_text())
            facts["identity"] |= {
                "recipe": repr(recipe),
                "cache": "05beac7ee0a5",
                "images": "a" * 64,
            }
            facts |= {"cache": CACHE, "resolved": in_json(recipe), "code": f"commit{seed}"}
            (runs[-1] / "run.json").write_text(json.dumps(facts))
    out = folder / "report.html"
    done = run("train/report.py", *runs, "--out", out, "--against", runs[0])
    text = out.read_text()
    return Cells(text), text, done.stdout


def test_its_tables_are_those_that_are_printed(made: tuple[Cells, str, str]) -> None:
    page, _, printed = made
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in printed.splitlines()
        if line.startswith("|") and not line.startswith("| ---")
    ]
    assert rows[0][-2:] == ["cache bytes/view", "tails"], "which the table of caches has"
    assert page.tables[0] + page.tables[1] == [row[:-2] for row in rows[:4]] + rows[4:]
    assert page.tables[0][1][:2] == ["<b>resnet18.ce", "2"], "escaped"
    assert page.tables[0][1][4] == "60.50 ± 0.71%"
    assert page.tables[1][1][1:4] == ["2", "+1.00", "-"]


def test_it_tells_in_which_settings_the_runs_differ(made: tuple[Cells, str, str]) -> None:
    head, *rows = made[0].tables[2]
    assert head == ["setting", *(f"<b>{name}" for name in NAMES)]
    settings = {name: cells for name, *cells in rows}
    assert settings["cd, weight"] == [
        "-", "6", "Steps: value 6, factor 0.9, milestones 29 59 89"
    ]  # fmt: skip
    assert settings["code"] == ["commit0 / commit1"] * 3, "between the seeds of a row"
    assert "batch_size" not in settings and "images" not in settings, "they are the same"


def test_it_tells_what_cache_the_runs_had(made: tuple[Cells, str, str]) -> None:
    _, row = made[0].tables[3]
    assert row == [
        "data/c/train (05beac7ee0a5)", "resnet34", "IMAGENET1K_V1",
        "8 views of 50,000 images at 32 px, pad-crop; zarr", "half", "1,234", "0.25 0.5",
        "all",
    ]  # fmt: skip


def test_it_is_one_file_with_pictures_for_light_and_dark(made: tuple[Cells, str, str]) -> None:
    page, text, _ = made
    assert len(page.loads) == 4 and "<script" not in text
    brightness = []
    for load in page.loads:
        kind, _, data = load.partition(",")
        assert kind == "data:image/png;base64"
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            brightness.append(image.convert("L").getpixel((2, 2)))
    assert sorted(value > 128 for value in brightness) == [False, False, True, True]
    assert not re.search(r"https?://", text)
