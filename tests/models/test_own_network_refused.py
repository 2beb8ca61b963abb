"""A network of the user's own that cannot be used: one line says why."""

from pathlib import Path

import pytest

from tests.models.made import refused
from tests.models.own_networks import write_network

REFUSED = {
    "fails": (
        "def fails(num_classes):\n    raise KeyError('a\\nb')",
        "{name} failed: KeyError: 'a\\nb'; it must be a function that takes num_classes and "
        "returns an nn.Module",
    ),
    "exits": (
        "def exits(num_classes):\n    raise SystemExit(3)",
        "{name} failed: SystemExit: 3; it must be a function that takes num_classes and returns an "
        "nn.Module",
    ),
    "text": (
        "def text(num_classes):\n    return 'resnet18'",
        "{name} must return an nn.Module: it returned str",
    ),
    "number": (
        "number = 5",
        "{path} has no function 'number': it has Small, small, Staged, staged; name a function "
        "that takes num_classes and returns an nn.Module",
    ),
    "smal": (
        "",
        "{path} has no function 'smal': it has Small, small, Staged, staged; name a function that "
        "takes num_classes and returns an nn.Module",
    ),
    "pair": (
        "class Pair(Small):\n    def forward(self, x):\n        return super().forward(x), x\n"
        "def pair(num_classes):\n    return Pair(num_classes)",
        "{name} returns a tuple for 2 images: it must return logits of 7 classes, (2, 7)",
    ),
    "flat": (
        "def flat(num_classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, num_classes))",
        "the stages of the network cannot be found, as no module of it returns square maps or "
        "tokens: name its modules with --stage-modules",
    ),
    "fixed": (
        "class Fixed(Small):\n    def forward(self, x):\n        assert x.shape[2] == 48, 'no'\n"
        "        return super().forward(x)\ndef fixed(num_classes):\n    return Fixed(num_classes)",
        "{name} fails on images of 64 x 64 pixels (AssertionError: no): give the --size that it "
        "was made for",
    ),
}


@pytest.mark.parametrize("function", REFUSED)
def test_a_function_that_returns_no_network(tmp_path: Path, function: str) -> None:
    more, text = REFUSED[function]
    path = write_network(tmp_path, f"\n{more}\n")
    assert refused(f"{path}:{function}") == text.format(name=f"{path}:{function}", path=path)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import no_such_package_of_a_test", "ModuleNotFoundError: No module named"),
        ("def (", "SyntaxError: invalid syntax"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("\0", "source code string cannot contain null bytes"),
    ],
)
def test_a_file_that_cannot_be_imported(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "net.py"
    path.write_text(text)
    line = refused(f"{path}:network")
    assert line.startswith(f"{path} cannot be imported: ") and line.endswith("; correct it")
    assert why in line


def test_no_such_file(tmp_path: Path) -> None:
    path = tmp_path / "nothing.py"
    assert refused(f"{path}:network") == f"{path} is not a file: give the path of a Python file"


@pytest.mark.parametrize(
    ("modules", "text"),
    [
        (
            ("low", "nothing"),
            "the network has no module 'nothing', which --stage-modules names: its top modules are "
            "low, high, fc",
        ),
        (
            ("high", "low"),
            "--stage-modules must name each module once, in the order in which they run, low,high: "
            "got high,low",
        ),
        (
            ("low", "low"),
            "--stage-modules must name each module once, in the order in which they run, low: got "
            "low,low",
        ),
        (
            ("low", "fc"),
            "the output of 'fc', which --stage-modules names, has the shape (2, 7): a stage must "
            "return square maps or tokens",
        ),
        (
            ("idle",),
            "the output of 'idle', which --stage-modules names, is no tensor: a stage must return "
            "square maps or tokens",
        ),
    ],
)
def test_stage_modules_that_cannot_be_stages(
    tmp_path: Path, modules: tuple[str, ...], text: str
) -> None:
    more = """
def network(num_classes):
    made = Small(num_classes)
    if IDLE:
        made.idle = nn.ReLU()  # forward does not call it
    return made
""".replace("IDLE", str("idle" in modules))
    assert refused(f"{write_network(tmp_path, more)}:network", stage_modules=modules) == text
