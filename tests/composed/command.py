"""train/run.py with the recipes of the tests beside it, as a command of its own."""

import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

if __name__ == "__main__":
    sys.path[0] = str(ROOT)
    import pytest

    from tests.composed.recipes import add_recipes

    add_recipes(pytest.MonkeyPatch())
    runpy.run_module("train.run", run_name="__main__")
