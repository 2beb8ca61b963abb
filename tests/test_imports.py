"""Who may import whom, read from the source of every file.

precompute -> shared <- train;  commands are imported by nothing;
only shared/formats/ imports zarr and numcodecs, only shared/loaders/ webdataset;
a room of shared/ imports only the rooms below it; shared/cache.py, the front door for users in
Python, stands on all of them
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("shared", "precompute", "train")
HOMES = {"zarr": "shared.formats", "numcodecs": "shared.formats", "webdataset": "shared.loaders"}
# From the lowest up; what lies in shared/ itself is below them all.
ROOMS = (
    *("files", "images", "pixels", "models", "targets"),
    *("records", "formats", "store", "loaders", "epochs"),
)
FRONT = "shared.cache"
COMMANDS = {"precompute.run", "precompute.verify", "precompute.plan", "train.run", "train.report"}


def imported(source: str, modules: set[str]) -> Iterator[str]:
    """Dotted names of all that a file imports, anywhere in it.

    `from a.b import c` is a.b.c where that is one of `modules`, else a.b.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"imports are absolute: line {node.lineno}"
            assert node.module is not None
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in modules else node.module


def read(root: Path) -> dict[str, str]:
    """Module -> source, of every file of the three packages."""
    found = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts).removesuffix(".__init__")] = path.read_text()
    return found


def is_command(source: str) -> bool:
    return '__name__ == "__main__"' in source


def floor(module: str) -> int:
    """How high a module stands: 0 in shared/ itself, then the rooms, then the commands."""
    parts = module.split(".")
    if module == FRONT:
        return len(ROOMS) + 1
    if parts[0] != "shared":
        return len(ROOMS) + 2 if parts[0] in PACKAGES else -1
    return ROOMS.index(parts[1]) + 1 if parts[1:] and parts[1] in ROOMS else 0


def violations(sources: dict[str, str]) -> list[str]:
    commands = {module for module, source in sources.items() if is_command(source)}
    found = []
    for module, source in sources.items():
        package = module.split(".")[0]
        for name in imported(source, set(sources)):
            top = name.split(".")[0]
            if (
                (top in PACKAGES and top not in (package, "shared"))
                or (top in HOMES and not module.startswith(HOMES[top] + "."))
                or floor(name) > floor(module)
                or name in commands
                or top == "tests"
            ):
                found.append(f"{module} imports {name}")
    return found


SOURCES = read(ROOT)


def test_the_files_are_found() -> None:
    assert len(SOURCES) > 25
    assert {"shared.store.opening", "precompute.blocks", "train.losses"} <= set(SOURCES)
    commands = {module for module, source in SOURCES.items() if is_command(source)}
    assert commands >= COMMANDS & set(SOURCES) >= {"precompute.run", "train.run"}
    assert not any(module.startswith("shared") for module in commands)


def test_imports_point_one_way() -> None:
    assert violations(SOURCES) == []


GOOD = {
    "shared": "",
    "shared.b": "import torch, json",
    "shared.files": "",
    "shared.files.f": "from shared.b import x",
    "shared.formats": "",
    "shared.formats.a": "import zarr\nfrom numcodecs import blosc\nfrom shared.files.f import y",
    "shared.loaders": "",
    "shared.loaders.s": "import webdataset\nfrom shared.formats.a import z",
    "shared.cache": "from shared.loaders.s import y",
    "precompute": "",
    "precompute.c": "from shared.loaders.s import y\nfrom precompute import d",
    "precompute.d": "",
    "precompute.run": 'from precompute.c import z\nif __name__ == "__main__":\n    z()',
    "train": "",
    "train.run": 'import shared.b\nif __name__ == "__main__":\n    pass',
}


@pytest.mark.parametrize(
    ("module", "line", "name"),
    [
        ("shared.b", "import precompute.c", "precompute.c"),
        ("shared.b", "from train import run", "train.run"),
        ("shared.formats.a", "def f():\n    from train.x import y", "train.x"),
        ("shared.files.f", "from shared.formats.a import x", "shared.formats.a"),
        ("shared.formats.a", "from shared.loaders import s", "shared.loaders.s"),
        ("shared.b", "from shared.files import f", "shared.files.f"),
        ("shared.formats.a", "import webdataset", "webdataset"),
        ("precompute.c", "import train", "train"),
        ("train.run", "from precompute.d import y", "precompute.d"),
        ("precompute.c", "from precompute import run", "precompute.run"),
        ("precompute.c", "from precompute.run import main", "precompute.run"),
        ("precompute.c", "import precompute.run as command", "precompute.run"),
        ("precompute.c", "import zarr", "zarr"),
        ("shared.b", "from zarr.codecs import BloscCodec", "zarr.codecs"),
        ("train", "import numcodecs.blosc", "numcodecs.blosc"),
        ("shared", "try:\n    import webdataset\nexcept ImportError:\n    pass", "webdataset"),
        ("shared.b", "from tests import helpers", "tests"),
        ("shared.loaders.s", "from shared.cache import c", "shared.cache"),
    ],
)
def test_a_wrong_import_is_found(module: str, line: str, name: str) -> None:
    """Negative control."""
    assert violations(GOOD) == []
    bad = {**GOOD, module: f"{GOOD[module]}\n{line}"}
    assert violations(bad) == [f"{module} imports {name}"]


def test_a_relative_import_is_found() -> None:
    with pytest.raises(AssertionError, match="absolute: line 2"):
        violations({**GOOD, "shared.b": "import json\nfrom .store import a"})
