"""The optimizers of recipes: steps by hand, and what of a saved state is taken."""

import math
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from train.optimizer import make_optimizer, resumed
from train.recipe import Recipe
from train.recipes import get_recipe
from train.schedule import Constant

CPU = torch.device("cpu")
SGD = replace(get_recipe("resnet18.ce"), learning_rate=Constant(0.5), weight_decay=0.0)
ADAMW = replace(SGD, optimizer="adamw", betas=(0.8, 0.9))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def stepped(model: nn.Module, recipe: Recipe, steps: int = 2) -> torch.optim.Optimizer:
    """The optimizer after steps with all gradients 1, 2, ..."""
    optimizer = make_optimizer(model, recipe, CPU, "fp32")
    for step in range(1, steps + 1):
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, float(step))
        optimizer.step()
    return optimizer


def weight_after(recipe: Recipe) -> float:
    """Of one weight that begins at 2, after gradients 1 and 2."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 2.0)
    stepped(model, recipe)
    return model.weight.item()


def test_sgd_by_hand() -> None:
    momenta = 1.0, 0.9 * 1 + 2
    assert weight_after(SGD) == pytest.approx(2 - 0.5 * sum(momenta))
    nesterov = 1 + 0.9 * momenta[0], 2 + 0.9 * momenta[1]
    assert weight_after(replace(SGD, nesterov=True)) == pytest.approx(2 - 0.5 * sum(nesterov))
    assert weight_after(replace(SGD, momentum=0.0)) == pytest.approx(2 - 0.5 * 3)


def test_adamw_by_hand() -> None:
    """Loshchilov and Hutter, arXiv 1711.05101: the decay is no part of the gradient."""
    weight, mean, square = 2.0, 0.0, 0.0
    for step, gradient in enumerate((1.0, 2.0), 1):
        weight -= 0.5 * 0.1 * weight
        mean, square = 0.8 * mean + 0.2 * gradient, 0.9 * square + 0.1 * gradient**2
        weight -= 0.5 * (mean / (1 - 0.8**step)) / math.sqrt(square / (1 - 0.9**step))
    assert weight_after(replace(ADAMW, weight_decay=0.1)) == pytest.approx(weight)


@pytest.mark.parametrize("recipe", [SGD, ADAMW], ids=["sgd", "adamw"])
@pytest.mark.parametrize("decay_norms", [True, False])
def test_norms_and_biases_decay_unless_the_recipe_says_otherwise(
    recipe: Recipe, decay_norms: bool
) -> None:
    model = network()
    nn.init.ones_(model[1].bias)
    before = deepcopy(model.state_dict())
    recipe = replace(recipe, weight_decay=0.1, decay_norms=decay_norms)
    optimizer = make_optimizer(model, recipe, CPU, "fp32")
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in model.named_parameters():
        decays = decay_norms or parameter.dim() > 1
        expected = before[name] * (1 - 0.5 * 0.1 if decays else 1)
        torch.testing.assert_close(parameter.detach(), expected, msg=name)


@pytest.mark.parametrize("recipe", [SGD, ADAMW], ids=["sgd", "adamw"])
@pytest.mark.parametrize("decay_norms", [True, False])
def test_a_saved_state_goes_on_with_the_hyper_parameters_of_the_recipe(
    recipe: Recipe, decay_norms: bool
) -> None:
    recipe = replace(recipe, decay_norms=decay_norms)
    saved = stepped(network(), recipe).state_dict()
    saved["param_groups"][0].update(lr=9.0, weight_decay=9.0)  # which nobody reads
    optimizer = make_optimizer(network(), recipe, CPU, "fp32")
    optimizer.load_state_dict(resumed(saved, optimizer))
    mine = optimizer.state_dict()
    assert all(group["lr"] == 0.5 for group in mine["param_groups"])
    assert mine["state"].keys() == saved["state"].keys() and len(mine["state"]) == 6
    for number, state in saved["state"].items():
        assert mine["state"][number].keys() == state.keys()
        for name, value in state.items():
            assert torch.equal(mine["state"][number][name], value)


def test_sgd_without_momentum_has_no_state() -> None:
    recipe = replace(SGD, momentum=0.0)
    optimizer = stepped(network(), recipe)
    assert resumed(optimizer.state_dict(), optimizer)["state"] == {}


FORGED: dict[str, tuple[Any, str]] = {
    "exp_avg": (torch.zeros(7), r"exp_avg\s+is \(7,\) float32 there and \(4, 3\) float32 here"),
    "exp_avg_sq": (torch.zeros(4, 3).to_sparse(), "float32 not dense there"),
    "step": (torch.tensor(1.5), "step is 1.5, not a number of steps"),
}


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        *((name, value, text) for name, (value, text) in FORGED.items()),
        ("exp_avg", None, "exp_avg is not a tensor"),
        ("step", 3, "step is not a tensor"),
        ("step", torch.tensor(math.nan), "step is nan"),
        ("step", torch.tensor(math.inf), "step is inf"),
        ("step", torch.tensor(0.0), "step is 0"),
        ("step", torch.zeros(2), r"step\s+is \(2,\) float32 there"),
        ("max_exp_avg_sq", torch.zeros(4, 3), "not that of AdamW, which has exp_avg, exp_avg_sq"),
    ],
)
def test_a_forged_state_is_refused(name: str, value: Any, text: str) -> None:
    optimizer = stepped(network(), ADAMW)
    saved = optimizer.state_dict()
    saved["state"][0] = {**saved["state"][0], name: value}
    with pytest.raises(ValueError, match=text) as caught:
        resumed(saved, optimizer)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("mine", "theirs"), [(SGD, ADAMW), (ADAMW, SGD)])
def test_the_state_of_another_optimizer_is_refused(mine: Recipe, theirs: Recipe) -> None:
    saved = stepped(network(), theirs).state_dict()
    with pytest.raises(ValueError, match="the optimizer's state is not that of"):
        resumed(saved, stepped(network(), mine))
