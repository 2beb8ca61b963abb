"""The recipes: losses, their weights, and all hyper-parameters that change the numbers.

    python train/run.py --cache data/teacher_cache --recipe s_resnet18.t_resnet34.cd.kdv2.lrdv2

The paper's recipes are in paper_recipes.py, one for each other loss in loss_recipes.py.
`repr(recipe)` is complete; run.json keeps it.
"""

from train.loss_recipes import LOSSES
from train.names import unknown_recipe
from train.paper_recipes import PAPER_CIFAR, PAPER_IMAGENET
from train.recipe import Recipe
from train.schedule import Steps
from train.settings import PLAIN


def get_recipe(name: str) -> Recipe:
    """The recipe called `name`. Raises InputError if there is none."""
    for recipe in RECIPES:
        if recipe.name == name:
            return recipe
    raise unknown_recipe(name)


RECIPES = (
    *PAPER_IMAGENET,
    *LOSSES,
    *PAPER_CIFAR,
    # The teacher for the built-in digits; no weights are published.
    #   python train/run.py --images digits --teacher none --recipe digits.resnet34.ce
    Recipe(
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
    ),
)
