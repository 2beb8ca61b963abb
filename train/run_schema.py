"""The schemas (train/schema.py) of the files in a run folder."""

from typing import Any

from torch import Tensor

from shared.choices import INTERPOLATIONS, STEMS
from shared.models.names import is_name
from train.composition import parse_composition
from train.schema import Optional, Values, count, one_of
from train.step import AUTOCAST

# What changes the numbers. This version writes all of it; earlier ones did not, so it is optional.
IDENTITY = {
    "recipe": Optional(str),
    "student": Optional(str),
    "init": Optional(str),
    "stage_modules": Optional(str),
    "stages": Optional(str),
    "mean": Optional(str),
    "std": Optional(str),
    "teacher": Optional(str),
    "seed": Optional(count),
    "precision": Optional(one_of(*AUTOCAST)),
    "accumulate": Optional(count),
    "sync_batchnorm": Optional(bool),
    "images": Optional(str),
    "val": Optional(str),
    "val_cache": Optional(str),
    "val_policy": Optional(str),
    "cache": Optional(str),
    "views": Optional(count),
}
# Fields that are missing from runs started with earlier versions.
LATER = frozenset({"val", "val_cache", "val_policy"})


def _network(value: Any) -> bool:
    """the name of a network"""
    return is_name(value)


def _share(value: Any) -> bool:
    """a number above 0 and at most 1"""
    return type(value) in (int, float) and 0 < value <= 1


def _classes(value: Any) -> bool:
    """a whole number from 1 to 100,000"""
    return type(value) is int and 1 <= value <= 100_000


def _pixels(value: Any) -> bool:
    """a whole number from 1 to 4,096"""
    return type(value) is int and 1 <= value <= 4096


def _composition(value: Any) -> bool:
    """a composition of networks"""
    try:
        return parse_composition(value) is not None
    except ValueError:
        return False


def _three(value: Any) -> bool:
    """three numbers, one a colour"""
    return (
        isinstance(value, list)
        and len(value) == 3
        and all(type(number) in (int, float) and abs(number) <= 1e6 for number in value)
    )


def _three_positive(value: Any) -> bool:
    """three numbers above 0, one a colour"""
    return _three(value) and all(number > 1e-6 for number in value)


RUN: dict[str, Any] = {
    "identity": IDENTITY,
    "processes": Optional(count),
    "model": Optional(
        {
            "architecture": _network,
            "stem": one_of(*STEMS),
            "classes": _classes,
            "size": _pixels,
            "mean": _three,
            "std": _three_positive,
            "stage_modules": Optional([str]),
            "interpolation": Optional(one_of(*INTERPOLATIONS)),
            "crop": Optional(_share),
            "composition": Optional(_composition),
        }
    ),
    "resolved": Optional(dict),  # the recipe for people; identity has it for comparison
    "epochs": Optional(count),
    "cache": Optional(
        {
            "codec": str,
            "bytes_per_view": float,
            "tails": Optional([float]),
            "where": Optional(str),
            "format": Optional(str),
            "teacher": Optional(str),
            "weights": Optional(str),
            "views": Optional(count),
            "samples": Optional(count),
            "size": Optional(count),
            "policy": Optional(str),
            "augment": Optional(str),
        }
    ),
    "flags": Optional(Values(str)),
}

_RECORD = {
    "epoch": count,
    "top1": float,
    "top5": float,
    "images_per_second": float,
    "seconds": float,
}
TRAIN = {
    **_RECORD,
    "split": one_of("train"),
    "loss": Values(float),
    "weight": Values(float),
    "total": Optional(float),
    "learning_rate": Optional(float),
    "view": Optional(count),
    "samples": Optional(count),
    "seconds_left": Optional(float),
}
VAL = {
    **_RECORD,
    "split": one_of("val"),
    "undecodable": Optional(count),
    "cross_entropy": Optional(float),
    "raw": Optional({"top1": float, "top5": float, "cross_entropy": Optional(float)}),
}


def _weights(value: Any) -> bool:
    """a state dict: names to dense tensors"""
    return isinstance(value, dict) and all(
        isinstance(name, str) and isinstance(tensor, Tensor) and tensor.device.type == "cpu"
        for name, tensor in value.items()
    )


def _tensor(value: Any) -> bool:
    """a tensor"""
    return isinstance(value, Tensor) and value.device.type == "cpu"


CHECKPOINT: dict[str, Any] = {
    "epoch": count,
    "step": count,
    "sums": _tensor,
    "seconds": float,
    "best_top1": float,
    "layout": [count],
    "student": _weights,
    "optimizer": {"state": dict},
    "scaler": Optional(dict),
    "average": Optional(_weights),
    "memory": Optional({"steps": count, "tensors": _weights}),
}
