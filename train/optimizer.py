"""The optimizer of a recipe, and its state in last.pt."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from train.fitting import require_fits
from train.recipe import Recipe


def make_optimizer(
    student: nn.Module, recipe: Recipe, device: torch.device, precision: str
) -> Optimizer:
    """SGD or AdamW, fused into one kernel per step on a GPU, except under fp16.

    Under fp16 the gradients of the first step normally overflow, until the scaler has adapted.
    torch's fused SGD then leaves the momenta uninitialised, and the next step adds them to the
    weights (torch 2.11 and 2.15). With a plain optimizer the scaler itself skips the step, for
    which the host waits for the device."""
    rate, fused = recipe.learning_rate(0), device.type == "cuda" and precision != "fp16"
    if recipe.optimizer == "adamw":
        return AdamW(
            _groups(student, recipe), lr=rate, betas=recipe.betas,
            weight_decay=recipe.weight_decay, fused=fused,
        )  # fmt: skip
    return SGD(
        _groups(student, recipe), lr=rate, momentum=recipe.momentum, nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay, fused=fused,
    )  # fmt: skip


def _groups(student: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """The trained parameters. With decay_norms=False those of one dimension, which are the weights
    of norms and all biases, are a group of their own without weight decay."""
    parameters = [value for value in student.parameters() if value.requires_grad]
    if recipe.decay_norms:
        return [{"params": parameters}]
    return [
        {"params": [p for p in parameters if p.dim() > 1]},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]


def resumed(saved: dict[str, Any], optimizer: Optimizer) -> dict[str, Any]:
    """An optimizer state with what is saved and the hyper-parameters of this run's recipe.

    Raises ValueError if `saved` is not the state of such an optimizer for these parameters.
    """
    groups = optimizer.state_dict()["param_groups"]
    parameters = [value for group in optimizer.param_groups for value in group["params"]]
    numbers = [number for group in groups for number in group["params"]]
    wanted = dict(zip(numbers, parameters, strict=True))
    names = _names(optimizer)
    for number, state in saved["state"].items():
        if number not in wanted or not isinstance(state, dict) or set(state) != names:
            raise ValueError(
                f"the optimizer's state is not that of {type(optimizer).__name__}, which has "
                f"{_listed(names)} of every parameter"
            )
        for name in names - {"step"}:
            if not isinstance(state[name], Tensor):
                raise ValueError(f"the optimizer's {name} is not a tensor")
            require_fits(f"the optimizer's {name}", {"": state[name]}, {"": wanted[number]})
        if "step" in names:
            _require_count(state["step"])
    return {"state": saved["state"], "param_groups": groups}


def _names(optimizer: Optimizer) -> set[str]:
    """What the optimizer keeps of a parameter."""
    if isinstance(optimizer, AdamW):
        return {"step", "exp_avg", "exp_avg_sq"}
    return {"momentum_buffer"}


def _require_count(step: Any) -> None:
    """Steps are counted in a tensor, from 1 on."""
    zero = torch.zeros((), dtype=torch.float32)
    if not isinstance(step, Tensor):
        raise ValueError("the optimizer's step is not a tensor")
    require_fits("the optimizer's step", {"": step}, {"": zero})
    if not (step >= 1 and step == step.floor()) or step.isinf():
        raise ValueError(f"the optimizer's step is {step.item():g}, not a number of steps")


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"
