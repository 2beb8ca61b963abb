"""The recipes' names for --help, with a one-line description and the published top-1 error.

It is separate from train/recipes.py, which defines the recipes, so that --help need not import
torch. tests/test_flags.py compares the two. The errors are for ImageNet or CIFAR-100.
"""

from shared.commandline import did_you_mean
from shared.errors import InputError

DEFAULT_RECIPE = "s_resnet18.t_resnet34.cd.kdv2.lrdv2"

RECIPES = {
    "resnet18.ce": "CE: plain training (30.43)",
    "s_resnet18.t_resnet34.kd.ce": "CE + KD (29.50)",
    "s_resnet18.t_resnet34.cd.ce": "CE + 6 CD (28.38)",
    "s_resnet18.t_resnet34.cd.ce.lrdv1": "CE + 6 CD, its weight decaying (28.34)",
    "s_resnet18.t_resnet34.cd.ce.lrdv2": "CD first, CE from epoch 30: EDT (28.00)",
    "s_resnet18.t_resnet34.cd.ce.kdv2": "CE + guided KD + 6 CD, decaying (28.26)",
    "s_resnet18.t_resnet34.cd.kd.lrdv2": "CD first, CE + KD from epoch 30 (27.99)",
    DEFAULT_RECIPE: "CD first, CE + guided KD from epoch 30 (27.68); the default",
    "s_resnet18.t_resnet34.rcd.ce": "CE + 5 RCD, CD for heavy tails: not the paper's",
    "s_resnet18.t_resnet34.rcd.kdv2.lrdv2": "RCD first, CE + guided KD from epoch 30",
    "cifar.resnet50.ce": "CIFAR-100, plain training (22.02)",
    "cifar.s_resnet50.t_resnet152.kd.ce": "CIFAR-100, CE + 0.1 KD (20.36)",
    "cifar.s_resnet50.t_resnet152.cd.ce": "CIFAR-100, CE + 6 CD (20.08)",
    "cifar.s_resnet50.t_resnet152.cd.ce.kdv2": "CIFAR-100, CE + 0.1 guided KD + 6 CD (19.49)",
    "cifar.s_resnet50.t_resnet152.cd.kdv2.lrdv2": "CIFAR-100, CD first, the rest from epoch 60 "
    "(18.63)",
    "cifar.s_resnet50.t_resnet152.rcd.kdv2.lrdv2": "CIFAR-100, RCD first, the rest from epoch 60",
    "digits.resnet34.ce": "the teacher of the built-in digits: CE, 8 epochs",
}


def unknown_recipe(name: str) -> InputError:
    near = did_you_mean(name, RECIPES)
    return InputError(f"there is no recipe {name!r}{near} --help lists all recipes")
