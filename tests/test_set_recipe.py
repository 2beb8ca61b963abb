"""--set: each key changes what it names, and nothing else."""

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.epochs.guide import TeacherLossBelow
from train.losses import CE, KD
from train.names import DEFAULT_RECIPE, SET_KEYS
from train.recipe import Recipe, Term
from train.recipes import RECIPES, get_recipe
from train.schedule import Constant, Cosine, Steps, SwitchedOn, WarmUp
from train.set_recipe import Given, _hints, set_recipe
from train.set_schedule import WEIGHT

PLAIN = get_recipe("s_resnet18.t_resnet34.kd.ce")
GUIDED = get_recipe(DEFAULT_RECIPE)
CIFAR = get_recipe("cifar.s_resnet50.t_resnet152.cd.kdv2.lrdv2")
RATE = PLAIN.learning_rate


def test_the_example_of_the_help() -> None:
    texts = "kd.weight=0.9 kd.temperature=4 lr=0.2 schedule=cosine warmup=5 weight_decay=5e-5"
    assert set_recipe(PLAIN, [*texts.split(), "label_smoothing=0.1"]) == replace(
        PLAIN,
        terms=(
            Term("ce", CE(label_smoothing=0.1), Constant(1.0)),
            Term("kd", KD(temperature=4.0), Constant(0.9)),
        ),
        learning_rate=WarmUp(Cosine(0.2, 100), 5),
        weight_decay=5e-5,
    )


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("lr=0.05", {"learning_rate": Steps(0.05, 0.1, (30, 60, 90))}),
        ("schedule=constant", {"learning_rate": Constant(0.1)}),
        ("schedule=cosine,1e-4", {"learning_rate": Cosine(0.1, 100, 1e-4)}),
        ("schedule=steps,0.2,50,75", {"learning_rate": Steps(0.1, 0.2, (50, 75))}),
        ("warmup=5", {"learning_rate": WarmUp(RATE, 5)}),
        ("warmup=0", {}),
        ("optimizer=adamw lr=1e-3", {"optimizer": "adamw", "learning_rate": RATE.peaking_at(1e-3)}),
        ("optimizer=sgd", {}),
        ("momentum=0.8", {"momentum": 0.8}),
        ("nesterov=true", {"nesterov": True}),
        ("nesterov=False", {}),
        ("decay_norms=false", {"decay_norms": False}),
        ("ema=0.999", {"ema": 0.999}),
        ("ema=none", {}),
        ("batch_size=64", {"batch_size": 64}),
        ("stem=cifar size=32 policy=pad-crop", {"stem": "cifar", "size": 32, "policy": "pad-crop"}),
    ],
)
def test_a_field(text: str, change: dict[str, object]) -> None:
    assert set_recipe(PLAIN, text.split()) == replace(PLAIN, **change)  # type: ignore[arg-type]


def test_the_betas_of_adamw() -> None:
    recipe = set_recipe(PLAIN, ["optimizer=adamw", "lr=0.001", "betas=0.8,0.95"])
    assert recipe.betas == (0.8, 0.95)


def weight_of(recipe: Recipe, name: str) -> object:
    (term,) = (term for term in recipe.terms if term.name == name)
    return term.weight


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ("ce.weight=2", SwitchedOn(Constant(2.0), 30)),
        ("ce.start=0", Constant(1.0)),
        ("ce.start=10", SwitchedOn(Constant(1.0), 10)),
        ("ce.schedule=cosine", SwitchedOn(Cosine(1.0, 100), 30)),
        ("ce.warmup=40", SwitchedOn(WarmUp(Constant(1.0), 40), 30)),
        ("ce.start=0 ce.warmup=4 ce.weight=3", WarmUp(Constant(3.0), 4)),
        ("epochs=10", SwitchedOn(Constant(1.0), 3)),
        ("epochs=10 ce.start=4 ce.schedule=cosine", SwitchedOn(Cosine(1.0, 10), 4)),
    ],
)
def test_a_weight_keeps_what_is_not_set(texts: str, expected: object) -> None:
    """In any order, though the number of epochs counts first."""
    for ordered in (texts.split(), texts.split()[::-1]):
        recipe = set_recipe(GUIDED, ordered)
        assert weight_of(recipe, "ce") == expected
        assert weight_of(recipe, "cd") == weight_of(GUIDED.scaled(recipe.epochs), "cd")


def test_a_weight_of_0_drops_a_term_with_what_it_needs() -> None:
    """CE alone stays, at weight 0, for the sake of the student's head."""
    recipe = set_recipe(GUIDED, ["gkd.weight=0"])
    assert [term.name for term in recipe.terms] == ["ce", "cd"]
    assert recipe.needs == {"channels"} and recipe.guide is None and recipe.teacher == "resnet34"
    recipe = set_recipe(GUIDED, ["gkd.weight=0", "cd.weight=0.0"])
    assert recipe.needs == set() and recipe.teacher is None
    recipe = set_recipe(GUIDED, ["ce.weight=0"])
    assert [term.name for term in recipe.terms] == ["ce", "gkd", "cd"]
    assert {recipe.weights(epoch)["ce"] for epoch in range(100)} == {0.0}


def test_the_guide() -> None:
    assert set_recipe(GUIDED, ["guide=loss<0.7"]).guide == TeacherLossBelow(0.7)
    assert set_recipe(GUIDED, ["guide=correct"]) == GUIDED


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_flags_and_keys_are_the_same(recipe: Recipe) -> None:
    flags = {"epochs": Given(10, "--epochs 10"), "lr": Given(0.2, "--lr 0.2")}
    expected = recipe.scaled(10)
    expected = replace(expected, learning_rate=expected.learning_rate.peaking_at(0.2))
    assert set_recipe(recipe, [], flags) == expected
    assert set_recipe(recipe, ["lr=0.2", "epochs=10"]) == expected
    assert set_recipe(recipe, ["lr=0.20"], flags) == expected, "the same value twice"
    assert set_recipe(recipe, []) is not None and set_recipe(recipe, []) == recipe


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_every_key_is_known_and_in_the_help(recipe: Recipe) -> None:
    told = {name for names in SET_KEYS for name in names.split(", ")}
    names = {term.name for term in recipe.terms}
    for key in _hints(recipe):
        term, _, name = key.rpartition(".")
        assert term in names if term else key in told, key
        if term and name in WEIGHT:
            assert f"TERM.{name}" in told
    for term in recipe.terms:  # else a hyper-parameter could not be reached
        assert not {field.name for field in fields(term.loss)} & set(WEIGHT)


@given(weight=st.floats(0.01, 100), temperature=st.floats(0.1, 100))
def test_numbers_come_back_as_they_were_printed(weight: float, temperature: float) -> None:
    recipe = set_recipe(CIFAR, [f"gkd.weight={weight!r}", f"gkd.temperature={temperature!r}"])
    assert recipe.weights(199)["gkd"] == weight
    assert recipe.terms[1].loss.temperature == temperature  # type: ignore[attr-defined]
