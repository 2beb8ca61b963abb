"""Golden: every number of every recipe, written down a second time from the paper's code."""

import pytest

from shared.epochs.guide import TeacherCorrect
from shared.errors import InputError
from tests.golden_cifar import CIFAR_GOLDEN
from tests.golden_losses import GOLDEN
from train import losses, schedule
from train.losses import CE, KD, ChannelDistillation, GuidedKD, Loss, RobustChannelDistillation
from train.names import DEFAULT_RECIPE
from train.recipe import Recipe, Term
from train.recipes import RECIPES, get_recipe

ALL_GOLDEN = {**GOLDEN, **CIFAR_GOLDEN}
Runs = list[tuple[int, int, float]]  # half-open ranges of epochs and the value there

ON: Runs = [(0, 100, 1.0)]
LATE: Runs = [(0, 30, 0.0), (30, 100, 1.0)]
SIX: Runs = [(0, 100, 6.0)]
FALLING: Runs = [(0, 29, 6.0), (29, 59, 5.4), (59, 89, 4.86), (89, 100, 4.374)]
FIVE: Runs = [(0, 100, 5.0)]
FIVE_FALLING: Runs = [(0, 29, 5.0), (29, 59, 4.5), (59, 89, 4.05), (89, 100, 3.645)]

CIFAR_ON: Runs = [(0, 200, 1.0)]
CIFAR_SIX: Runs = [(0, 200, 6.0)]
TENTH: Runs = [(0, 200, 0.1)]
CIFAR_LATE: Runs = [(0, 60, 0.0), (60, 200, 1.0)]
TENTH_LATE: Runs = [(0, 60, 0.0), (60, 200, 0.1)]
CIFAR_FALLING: Runs = [(0, 59, 6.0), (59, 159, 5.4), (159, 200, 4.86)]
CIFAR_FIVE_FALLING: Runs = [(0, 59, 5.0), (59, 159, 4.5), (159, 200, 4.05)]

WEIGHTS: dict[str, dict[str, Runs]] = {
    "resnet18.ce": {"ce": ON},
    "s_resnet18.t_resnet34.kd.ce": {"ce": ON, "kd": ON},
    "s_resnet18.t_resnet34.cd.ce": {"ce": ON, "cd": SIX},
    "s_resnet18.t_resnet34.cd.ce.lrdv1": {"ce": ON, "cd": FALLING},
    "s_resnet18.t_resnet34.cd.ce.lrdv2": {"ce": LATE, "cd": FALLING},
    "s_resnet18.t_resnet34.cd.ce.kdv2": {"ce": ON, "gkd": ON, "cd": FALLING},
    "s_resnet18.t_resnet34.cd.kd.lrdv2": {"ce": LATE, "kd": LATE, "cd": FALLING},
    "s_resnet18.t_resnet34.cd.kdv2.lrdv2": {"ce": LATE, "gkd": LATE, "cd": FALLING},
    "s_resnet18.t_resnet34.rcd.ce": {"ce": ON, "rcd": FIVE},
    "s_resnet18.t_resnet34.rcd.kdv2.lrdv2": {"ce": LATE, "gkd": LATE, "rcd": FIVE_FALLING},
    **{name: golden.weights for name, golden in GOLDEN.items()},
    "cifar.resnet50.ce": {"ce": CIFAR_ON},
    "cifar.s_resnet50.t_resnet152.kd.ce": {"ce": CIFAR_ON, "kd": TENTH},
    "cifar.s_resnet50.t_resnet152.cd.ce": {"ce": CIFAR_ON, "cd": CIFAR_SIX},
    "cifar.s_resnet50.t_resnet152.cd.ce.kdv2": {"ce": CIFAR_ON, "gkd": TENTH, "cd": CIFAR_SIX},
    "cifar.s_resnet50.t_resnet152.cd.kdv2.lrdv2": {
        "ce": CIFAR_LATE,
        "gkd": TENTH_LATE,
        "cd": CIFAR_FALLING,
    },
    "cifar.s_resnet50.t_resnet152.rcd.kdv2.lrdv2": {
        "ce": CIFAR_LATE,
        "gkd": TENTH_LATE,
        "rcd": CIFAR_FIVE_FALLING,
    },
    **{name: golden.weights for name, golden in CIFAR_GOLDEN.items()},
    "digits.resnet34.ce": {"ce": [(0, 8, 1.0)]},
    "digits.cifar_resnet20.ce": {"ce": [(0, 8, 1.0)]},
}
ERRORS = {
    "resnet18.ce": 30.43,
    "s_resnet18.t_resnet34.kd.ce": 29.50,
    "s_resnet18.t_resnet34.cd.ce": 28.38,
    "s_resnet18.t_resnet34.cd.ce.lrdv1": 28.34,
    "s_resnet18.t_resnet34.cd.ce.lrdv2": 28.00,
    "s_resnet18.t_resnet34.cd.ce.kdv2": 28.26,
    "s_resnet18.t_resnet34.cd.kd.lrdv2": 27.99,
    "s_resnet18.t_resnet34.cd.kdv2.lrdv2": 27.68,
    "s_resnet18.t_resnet34.rcd.ce": None,
    "s_resnet18.t_resnet34.rcd.kdv2.lrdv2": None,
    **{name: golden.error for name, golden in GOLDEN.items()},
    "cifar.resnet50.ce": 22.02,
    "cifar.s_resnet50.t_resnet152.kd.ce": 20.36,
    "cifar.s_resnet50.t_resnet152.cd.ce": 20.08,
    "cifar.s_resnet50.t_resnet152.cd.ce.kdv2": 19.49,
    "cifar.s_resnet50.t_resnet152.cd.kdv2.lrdv2": 18.63,
    "cifar.s_resnet50.t_resnet152.rcd.kdv2.lrdv2": None,
    **{name: golden.error for name, golden in CIFAR_GOLDEN.items()},
    "digits.resnet34.ce": None,
    "digits.cifar_resnet20.ce": None,
}
LEARNING_RATES: dict[str, Runs | list[float]] = {
    "imagenet": [(0, 30, 0.1), (30, 60, 0.01), (60, 90, 0.001), (90, 100, 0.0001)],
    "imagenet of 512": [(0, 30, 0.2), (30, 60, 0.02), (60, 90, 0.002), (90, 100, 0.0002)],
    "cifar": [(0, 60, 0.1), (60, 120, 0.02), (120, 160, 0.004), (160, 200, 0.0008)],
    "cifar pair": [(0, 150, 0.05), (150, 180, 0.005), (180, 210, 0.0005), (210, 240, 0.00005)],
    "digits": [(0, 7, 0.01), (7, 8, 0.001)],
    # Half of 0.1 in the first epoch, then 0.05 * (1 + cos(pi * epoch / 8)).
    "small digits": [
        *(0.05, 0.0961939766, 0.0853553391, 0.0691341716),
        *(0.05, 0.0308658284, 0.0146446609, 0.0038060234),
    ],
}
OTHERS = {  # batch size, momentum, weight decay, stem, policy, size, teacher, student
    "imagenet": (256, 0.9, 1e-4, "imagenet", "random-resized-crop", 224, "resnet34", "resnet18"),
    "imagenet of 512": (
        *(512, 0.9, 1e-4, "imagenet", "random-resized-crop", 224, "resnet34", "resnet18"),
    ),
    "cifar": (128, 0.9, 5e-4, "cifar", "pad-crop", 32, "resnet152", "resnet50"),
    "cifar pair": (*(64, 0.9, 5e-4, "cifar", "pad-crop", 32, "cifar_resnet56", "cifar_resnet20"),),
    "digits": (32, 0.9, 5e-4, "imagenet", "pad-crop", 32, None, "resnet34"),
    "small digits": (32, 0.9, 5e-4, "cifar", "pad-crop", 32, None, "cifar_resnet20"),
}
NEEDS = {
    "ce": set(),
    "kd": {"logits"},
    "gkd": {"logits", "guided"},
    "cd": {"channels"},
    "rcd": {"channels", "spread"},
}
LOSSES: dict[str, Loss] = {
    "ce": CE(),
    "kd": KD(1.0),
    "gkd": GuidedKD(1.0),
    "cd": ChannelDistillation(),
    "rcd": RobustChannelDistillation(),
}
every_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)


def family(recipe: Recipe) -> str:
    if recipe.name in CIFAR_GOLDEN:
        return "cifar pair"
    if recipe.name == "digits.cifar_resnet20.ce":
        return "small digits"
    first = recipe.name.split(".")[0]
    if first in ("cifar", "digits"):
        return first
    golden = ALL_GOLDEN.get(recipe.name)
    return "imagenet of 512" if golden is not None and golden.batch == 512 else "imagenet"


def unrolled(runs: Runs | list[float]) -> list[float]:
    """The value of every epoch, from ranges, or as it is."""
    values: list[float] = []
    for run in runs:
        if isinstance(run, float):
            values.append(run)
            continue
        start, stop, value = run
        assert start == len(values), "the runs of this test's own table must join"
        values += [value] * (stop - start)
    return values


def test_the_recipes_are_these_and_no_others() -> None:
    names = [recipe.name for recipe in RECIPES]
    assert names == list(WEIGHTS) == list(ERRORS)
    assert DEFAULT_RECIPE == "s_resnet18.t_resnet34.cd.kdv2.lrdv2"


@every_recipe
def test_weights_at_every_epoch(recipe: Recipe) -> None:
    golden = {name: unrolled(runs) for name, runs in WEIGHTS[recipe.name].items()}
    assert {len(values) for values in golden.values()} == {recipe.epochs}
    for epoch in range(recipe.epochs):
        expected = {name: values[epoch] for name, values in golden.items()}
        assert recipe.weights(epoch) == pytest.approx(expected, rel=1e-12), epoch


@every_recipe
def test_learning_rate_at_every_epoch(recipe: Recipe) -> None:
    got = [recipe.learning_rate(epoch) for epoch in range(recipe.epochs)]
    assert got == pytest.approx(unrolled(LEARNING_RATES[family(recipe)]), rel=1e-8)


@every_recipe
def test_every_other_number(recipe: Recipe) -> None:
    batch_size, momentum, decay, stem, policy, size, teacher, student = OTHERS[family(recipe)]
    assert recipe.batch_size == batch_size
    assert recipe.momentum == momentum
    assert recipe.weight_decay == decay
    assert (recipe.stem, recipe.policy, recipe.size) == (stem, policy, size)
    assert recipe.student == student
    assert recipe.teacher == (None if set(WEIGHTS[recipe.name]) == {"ce"} else teacher)
    assert recipe.paper_top1_error == ERRORS[recipe.name]
    golden = ALL_GOLDEN.get(recipe.name)
    assert recipe.composition == (golden.composition if golden else None)
    assert recipe.optimizer == "sgd" and not recipe.nesterov and recipe.decay_norms
    assert recipe.ema is None and recipe.augment is None


@every_recipe
def test_terms_are_the_losses_that_their_names_say(recipe: Recipe) -> None:
    golden = ALL_GOLDEN.get(recipe.name)
    assert {term.name: term.loss for term in recipe.terms} == (
        golden.losses if golden else {name: LOSSES[name] for name in WEIGHTS[recipe.name]}
    )
    needs = golden.needs if golden else set().union(*(NEEDS[t] for t in WEIGHTS[recipe.name]))
    assert recipe.needs == needs
    assert recipe.guide == (TeacherCorrect() if "guided" in recipe.needs else None)


def test_needs_of_the_default() -> None:
    assert get_recipe(DEFAULT_RECIPE).needs == {"logits", "channels", "guided"}


@every_recipe
def test_repr_is_complete(recipe: Recipe) -> None:
    words = {**vars(losses), **vars(schedule), "Recipe": Recipe, "Term": Term}
    words["TeacherCorrect"] = TeacherCorrect
    assert eval(repr(recipe), words) == recipe


@every_recipe
def test_get_recipe(recipe: Recipe) -> None:
    assert get_recipe(recipe.name) is recipe


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(InputError) as error:
        get_recipe("resnet18")
    assert str(error.value) == (
        "there is no recipe 'resnet18': did you mean resnet18.ce? --help lists all recipes"
    )
