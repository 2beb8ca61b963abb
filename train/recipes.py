"""The recipes: losses, their weights, and all hyper-parameters that change the numbers.

    python train/run.py --cache data/teacher_cache --recipe s_resnet18.t_resnet34.cd.kdv2.lrdv2

The paper's recipes are in paper_recipes.py, one for each other loss in loss_recipes.py,
and those of a small pair for CIFAR-100 in cifar_recipes.py.
`repr(recipe)` is complete; run.json keeps it.
"""

from dataclasses import replace

from train.cifar_recipes import CIFAR_PAIR
from train.loss_recipes import LOSSES
from train.names import unknown_recipe
from train.paper_recipes import PAPER_CIFAR, PAPER_IMAGENET
from train.recipe import Recipe
from train.schedule import Cosine, Steps, WarmUp
from train.settings import PLAIN


def get_recipe(name: str) -> Recipe:
    """The recipe called `name`. Raises InputError if there is none."""
    for recipe in RECIPES:
        if recipe.name == name:
            return recipe
    raise unknown_recipe(name)


# The teachers for the built-in digits; no weights are published.
#   python train/run.py --images digits --teacher none --recipe digits.resnet34.ce
_DIGITS = Recipe(
    name="digits.resnet34.ce",
    terms=(PLAIN,),
    guide=None,
    epochs=8,
    batch_size=32,
    learning_rate=Steps(0.01, factor=0.1, milestones=(7,)),
    momentum=0.9,
    weight_decay=5e-4,
    stem="imagenet",
    policy="pad-crop",
    size=32,
    teacher=None,
    student="resnet34",
    paper_top1_error=None,
)
# That of `make demo`, which learns in a quarter of the time.
_DIGITS_SMALL = replace(
    _DIGITS,
    name="digits.cifar_resnet20.ce",
    learning_rate=WarmUp(Cosine(0.1, epochs=8), epochs=2),
    stem="cifar",
    student="cifar_resnet20",
)

RECIPES = (
    *PAPER_IMAGENET,
    *LOSSES,
    *PAPER_CIFAR,
    *CIFAR_PAIR,
    _DIGITS,
    _DIGITS_SMALL,
)
