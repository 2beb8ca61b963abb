"""What the tests of train/eval.py share."""

import pytest

from tests.evaluated import Evaluate, World, evaluate_here, make_student, make_world
from train.student import Student


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def student(world: World) -> Student:
    return make_student(world, seed=1)


@pytest.fixture
def evaluate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Evaluate:
    return evaluate_here(monkeypatch, capsys)
