"""--set: what is mistyped is told in one line, with the nearest key, value or rule."""

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import InputError
from train.losses.loss import Loss
from train.names import DEFAULT_RECIPE
from train.recipe import Recipe, Term
from train.recipes import get_recipe
from train.schedule import Constant, WarmUp
from train.set_recipe import Given, set_recipe
from train.set_value import parsed

KD = get_recipe("s_resnet18.t_resnet34.kd.ce")
GUIDED = get_recipe(DEFAULT_RECIPE)


def refusal(recipe: Recipe, *texts: str, **flags: Given) -> str:
    with pytest.raises(InputError) as caught:
        set_recipe(recipe, texts, flags)
    assert "\n" not in str(caught.value) and str(caught.value).startswith("--")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("kd.temprature=4", "no key 'kd.temprature' for this recipe: did you mean kd.temperature?"),
        ("wieght_decay=1", "no key 'wieght_decay' for this recipe: did you mean weight_decay?"),
        ("xyz.foo=3", "no key 'xyz.foo' for this recipe. Its terms are ce, kd"),
        ("ce.foo=3", "no key 'ce.foo' for this recipe. Its keys are ce.label_smoothing, ce.weight"),
        ("name=x", "no key 'name' for this recipe. Its keys are lr, schedule, warmup, guide, "),
        ("kd.temperature", "takes KEY=VALUE, like lr=0.2 or kd.temperature=4: got 'kd.temp"),
        ("kd.temperature=warm", "kd.temperature must be a finite number: got 'warm'"),
        ("kd.temperature=0", "kd.temperature must be above 0: it is 0.0"),
        ("kd.standardise=1", "kd.standardise must be true or false: got '1'"),
        ("composition=split", "--set has no key 'composition' for this recipe"),
        ("kd.weight=-1", "kd.weight must be a finite number, 0 or more: it is -1.0"),
        ("lr=-1", "--set lr=-1 cannot be used: lr must be above 0: it is -1.0"),
        ("lr=nan", "--set lr must be a finite number: got 'nan'"),
        ("lr=0.1 lr=0.2", "lr=0.1 and --set lr=0.2 give different values for lr: leave one of"),
        ("label_smoothing=0.1 ce.label_smoothing=0.2", "give different values for ce.label_smooth"),
        ("schedule=cosin", "cosine,FLOOR or steps,FACTOR,EPOCH,...: got 'cosin': did you mean cos"),
        ("schedule=steps,0.1", "steps,FACTOR,EPOCH,...: got 'steps,0.1'"),
        ("schedule=cosine,0.5", "schedule must be a cosine to 0 ... 0.1: it is 0.5"),
        ("schedule=steps,0.1,-3", "schedule must be steps at epochs of 0 or more: it is (-3,)"),
        ("warmup=200", "--set warmup must be from 0 to 100, the number of epochs: got 200"),
        ("warmup=2.5", "--set warmup must be a whole number: got '2.5'"),
        ("kd.start=100", "kd.start must be an epoch from 0 to 99: it is 100"),
        ("optimizer=adam", "optimizer must be one of sgd, adamw: got 'adam': did you mean adamw?"),
        ("optimizer=adamw", "needs a learning rate of its own, as the recipe's 0.1 is for sgd"),
        ("optimizer=adamw lr=1e-3 momentum=0.8", "momentum is of optimizer sgd: this run has"),
        ("betas=0.9,0.99", "betas is of optimizer adamw: this run has sgd"),
        ("optimizer=adamw lr=1e-3 betas=0.9", "betas must be 2 numbers like 0.9,0.999: got '0.9'"),
        ("optimizer=adamw lr=1e-3 betas=0.9,1", "betas must be 0 or more and below 1 each: it is"),
        ("nesterov=yes", "nesterov must be true or false: got 'yes'"),
        ("nesterov=true momentum=0", "nesterov must be false without SGD's momentum: it is true"),
        ("momentum=1", "momentum must be 0 or more and below 1: it is 1.0"),
        ("label_smoothing=1", "ce.label_smoothing must be 0 or more and below 1: it is 1.0"),
        ("ema=1", "ema must be between 0 and 1: it is 1.0"),
        ("epochs=0", "--set epochs=0 cannot be used: epochs must be 1 or more"),
        ("epochs=ten", "epochs must be a whole number: got 'ten'"),
        ("epochs=9999999", "epochs must be from 1 to 1,000,000: it is 9999999"),
        ("stem=cifr", "stem must be one of imagenet, cifar: got 'cifr': did you mean cifar?"),
        ("kd.weight=0 ce.weight=0", "no term is left: the weights of all are 0 in every epoch"),
        ("guide=correct", "guide has no effect: no loss of s_resnet18.t_resnet34.kd.ce is guided"),
    ],
)  # fmt: skip
def test_a_mistake(text: str, line: str) -> None:
    assert line in refusal(KD, *text.split())


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("ce.warmup=5", "no effect: the weight is 0 before epoch 30, and the warm-up is over by"),
        ("guide=loos", "guide must be correct or 'loss<NUMBER': got 'loos'"),
        ("guide=loss<x", "guide must be a finite number: got 'x'"),
    ],
)
def test_a_mistake_about_guided_and_late_terms(text: str, line: str) -> None:
    assert line in refusal(GUIDED, text)


def test_a_flag_that_says_something_else() -> None:
    line = refusal(KD, "lr=0.2", lr=Given(0.1, "--lr 0.1"))
    assert line == "--lr 0.1 and --set lr=0.2 give different values for lr: leave one of them out"


def test_what_no_term_has() -> None:
    recipe = replace(KD, terms=KD.terms[1:])
    line = refusal(recipe, "label_smoothing=0.1")
    assert line == (f"--set label_smoothing has no effect: no loss of {recipe.name} smooths labels")


ONE = Constant(1.0)


@dataclass(frozen=True)
class Odd(Loss):
    """A loss with hyper-parameters of every type, which checks one itself."""

    widths: tuple[int, ...] = (3, 4)
    pair: tuple[float, float] = (1.0, 2.0)
    limit: float | None = None
    kind: str = "a"
    inner: Constant = ONE
    needs: ClassVar[frozenset[str]] = frozenset({"logits"})

    def __post_init__(self) -> None:
        if self.kind not in ("a", "b"):
            raise ValueError(f"kind must be a or b: it is {self.kind}")


ODD = replace(KD, terms=(KD.terms[0], Term("odd", Odd(), WarmUp(WarmUp(Constant(1.0), 3), 2))))


def test_the_types_of_hyper_parameters() -> None:
    texts = "odd.widths=5 odd.pair=1,2.5 odd.limit=3 odd.kind=b"
    (_, term) = set_recipe(ODD, texts.split()).terms
    assert term.loss == Odd((5,), (1.0, 2.5), 3.0, "b")
    (_, term) = set_recipe(ODD, ["odd.limit=none", "odd.widths=1,2,3"]).terms
    assert term.loss == Odd((1, 2, 3))
    assert "odd.widths must be whole numbers like 3,4: got '3,x'" in refusal(ODD, "odd.widths=3,x")
    assert "odd.pair must be 2 numbers like" in refusal(ODD, "odd.pair=1,2,3")
    assert "must be a finite number or none: got 'x'" in refusal(ODD, "odd.limit=x")
    assert "--set cannot be used for odd: kind must be a or b: it is c" in refusal(
        ODD, "odd.kind=c"
    )
    assert "--set cannot give odd.inner, which is Constant: write" in refusal(ODD, "odd.inner=1")
    assert "a schedule that is wrapped twice: change it in" in refusal(ODD, "odd.warmup=1")


@settings(max_examples=20)
@given(key=st.text(max_size=12), value=st.text(max_size=12))
def test_any_text_is_taken_or_told_in_one_line(key: str, value: str) -> None:
    keys = ("lr", "schedule", "warmup", "betas", "ema", "kd.start", "kd.temperature", key)
    for name in keys:
        try:
            set_recipe(KD, [f"{name}={value}"])
        except InputError as error:
            assert str(error).startswith("--set ")


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_itself(number: float) -> None:
    assert parsed("x", repr(number), type(number)) == number
