"""train/run.py with one recipe more: CE + CD at a tenth of the paper's weight.

    python tests/bench/cifar_light.py --recipe light.cd.ce --cache DIR ...

For the question in cifar.py whether CD's weight is what hinders a student in a short run.
"""

import sys
from dataclasses import replace
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import train.recipes
from shared.errors import run_command
from train.recipes import Term, get_recipe
from train.run import main
from train.schedule import Constant

NAME = "light.cd.ce"

if __name__ == "__main__":
    recipe = get_recipe("s_resnet18.t_resnet34.cd.ce")
    ce, cd = recipe.terms
    light = replace(recipe, name=NAME, terms=(ce, Term("cd", cd.loss, Constant(0.6))))
    train.recipes.RECIPES = (*train.recipes.RECIPES, light)
    run_command(main)
