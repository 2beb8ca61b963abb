"""Figures in the tables of the pages are those of the code that they describe."""

import re

import pytest

from precompute.views_advice import MEASURED
from shared.targets import codecs
from shared.targets.codecs import CODECS, Kept, num_bytes
from shared.targets.encoding import Encoding
from shared.targets.kinds import OF_THE_RUN, Facts, kind_of
from tests.bench.study import LOSSES, TAUGHT
from tests.pages import table_after
from train.recipes import RECIPES, get_recipe

RESNET34 = Facts(1000, (64, 128, 256, 512), ((56, 56), (28, 28), (14, 14), (7, 7)), 512)
KINDS = "| `--targets` | what it is |"


def bytes_of(kinds: list[str]) -> int:
    """Of one view with codec half, uncompressed."""
    kept = tuple(Kept(name, kind_of(name).shape(RESNET34), RESNET34.channels) for name in kinds)
    return num_bytes(Encoding("half", kept).fields())


def whole(text: str) -> int:
    return int(text.replace(",", ""))


def test_recipes_and_their_published_errors() -> None:
    for cells in table_after("docs/recipes.md", "| `--recipe` | losses | error |"):
        name = re.findall(r"`([^`]+)`", cells[0])[0]
        error = get_recipe(name).paper_top1_error
        assert cells[-1] == ("not run" if error is None else f"{error:.2f}"), name


def test_every_loss_with_its_bytes_and_published_accuracy() -> None:
    rows = table_after("docs/recipes.md", "| `--recipe` | loss (arXiv) |")
    for name, _, _, size, published, *_ in rows:
        recipe = get_recipe(name.strip("`").replace("*", "s_resnet18.t_resnet34"))
        kinds = sorted(recipe.needs - OF_THE_RUN)
        assert whole(size) == bytes_of(kinds), (name, kinds)
        error = recipe.paper_top1_error
        assert published == ("" if error is None else f"{100 - error:.2f}"), name


def test_every_recipe_of_imagenet_is_in_one_of_the_two_tables() -> None:
    both = [
        row[0]
        for head in ("| `--recipe` | losses |", "| `--recipe` | loss (arXiv) |")
        for row in table_after("docs/recipes.md", head)
    ]
    named = {re.findall(r"`([^`]+)`", cell)[0] for cell in both}
    named = {name.replace("*", "s_resnet18.t_resnet34") for name in named}
    imagenet = {r.name for r in RECIPES if r.name.startswith(("resnet18.", "s_resnet18."))}
    assert named == imagenet


def test_bytes_of_kinds() -> None:
    found: dict[str, int] = {}
    for cells in table_after("docs/formats.md", KINDS):
        names, sizes = re.findall(r"`(\w+)`", cells[0]), cells[2].replace("...", "").split()
        if len(sizes) == 4:  # attention1 ... attention4
            names = [f"{names[0][:-1]}{stage}" for stage in range(1, 5)]
        found |= dict(zip(names, map(whole, sizes), strict=True))
    assert found == {name: bytes_of([name]) for name in found}
    assert len(found) == 10


@pytest.mark.parametrize("number", range(4))
def test_the_codecs_are_as_measured(number: int) -> None:
    """The measurement itself is in the docstring of shared/targets/codecs.py."""
    cells = table_after("docs/formats.md", "| `--codec` | logits |")[number]
    name = re.findall(r"`(\w+)`", cells[0])[0]
    assert name == list(CODECS)[number]
    measured = re.search(rf"^\| {name} \| ([\d,]+) \| (\S+) \|", codecs.__doc__ or "", re.M)
    assert measured is not None and cells[2:4] == list(measured.groups())
    assert cells[1].startswith("derived") is CODECS[name].derives_logits


def test_the_readme_has_the_results_of_the_page_of_results() -> None:
    head = "| losses | CIFAR-10 | CIFAR-100 |"
    known = {row[0]: row[1:] for row in table_after("docs/results.md", head)}
    for losses, *figures in table_after("README.md", head):
        losses = losses.replace(" (plain training)", "").replace(" (the default)", "")
        if losses == "CE + KD at T = 4":
            assert figures == [cell.split("; ")[1] for cell in known["CE + KD at T = 1; at T = 4"]]
        else:
            (row,) = (row for name, row in known.items() if name.split(",")[0] == losses)
            assert figures == row


def test_the_gain_of_views_is_that_of_plan() -> None:
    heads = ("| views an image | 1 | 2 |", "| views per image | 1 | 2 |")
    rows = [row for head in heads for row in table_after("docs/study.md", head)]
    for (name, *figures), (setting, found) in zip(rows, MEASURED.items(), strict=True):
        assert list(map(float, figures)) == list(found.values())
        losses = re.sub(r" at T = 4|\b6 ", "", name)
        assert setting.partition(", ")[2] == losses


def test_the_study_has_every_recipe_with_its_published_accuracy() -> None:
    rows = table_after("docs/study.md", "| `--recipe` | losses | ours |")
    names = [row[0].strip("`").replace("*.", TAUGHT) for row in rows]
    assert sorted(names) == sorted(LOSSES)
    for name, row in zip(names, rows, strict=True):
        error = get_recipe(name).paper_top1_error
        assert row[-1] == ("" if error is None else f"{100 - error:.2f}"), name
