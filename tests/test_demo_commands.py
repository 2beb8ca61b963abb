"""The commands of `make demo` are read by the parsers of the commands that they name."""

from precompute.digits_teacher import RECIPES
from tests.demo_commands import demo_commands
from tests.test_page_commands import parser_of
from train.names import RECIPES as NAMES


def test_make_demo() -> None:
    given = [parser_of(script).parse_args(flags) for script, *flags in demo_commands()]
    students = [flags for flags in given if hasattr(flags, "recipe")]
    assert [(flags.recipe in NAMES, flags.seed) for flags in students] == [(True, 0), (True, 1)] * 2
    assert len({str(flags.out) for flags in students}) == 4
    # Every student has the same chance: only losses, seed and folder differ.
    assert len({str(vars(f) | {"recipe": 0, "seed": 0, "out": 0}) for f in students}) == 1
    precompute, picture = given[0], given[-1]
    assert precompute.teacher == "cifar_resnet20"
    assert picture.teacher.name == RECIPES[precompute.teacher, "cifar"]
    assert picture.runs == [flags.out for flags in students]
