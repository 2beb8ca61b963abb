"""A network of the user's own: FILE.py:FUNCTION or package.module:FUNCTION.

The function is called with num_classes=C if it takes such an argument, else without arguments. C is
1000 where nothing says how many classes there are and the argument has no default. The function
returns an nn.Module whose forward returns logits (B, C). Weights that it has loaded itself stay,
unless --weights names others.
"""

import importlib
import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from shared.errors import InputError
from shared.files.retry import one_line


def own_network(source: str, function: str, num_classes: int | None) -> nn.Module:
    """Raises InputError if there is no such function, or it fails, or returns something else."""
    name = f"{source}:{function}"
    module = own_module(source)
    make = getattr(module, function, None)
    if not callable(make):
        known = [each for each, value in vars(module).items() if _is_offered(each, value, module)]
        raise InputError(
            f"{source} has no function {function!r}: it has {', '.join(known) or 'none'}; name a "
            f"function that takes num_classes and returns an nn.Module"
        )
    try:
        arguments = _arguments(make, num_classes)
        network = make(**arguments)
    except (Exception, SystemExit) as error:  # the user's code may raise anything, or end
        raise InputError(
            f"{name} failed: {one_line(error)}; it must be a function "
            f"that takes num_classes and returns an nn.Module"
        ) from error
    if not isinstance(network, nn.Module):
        raise InputError(f"{name} must return an nn.Module: it returned {type(network).__name__}")
    return network


def _is_offered(name: str, value: Any, module: ModuleType) -> bool:
    """Whether the file defines it itself, for others to call."""
    home = getattr(value, "__module__", None)
    return callable(value) and name[0] != "_" and home == module.__name__


def _arguments(make: Any, num_classes: int | None) -> dict[str, int]:
    parameters = inspect.signature(make).parameters
    own = parameters.get("num_classes")
    if num_classes is None:
        return {"num_classes": 1000} if own is not None and own.default is own.empty else {}
    takes = own is not None or any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    return {"num_classes": num_classes} if takes else {}


def own_module(source: str) -> ModuleType:
    """FILE.py or a module by its dotted name. Raises InputError if it cannot be imported."""
    try:
        if not source.endswith(".py"):
            return importlib.import_module(source)
        path = Path(source)
        if not path.is_file():
            raise InputError(f"{source} is not a file: give the path of a Python file")
        spec = importlib.util.spec_from_file_location(f"own_{path.stem}", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses and pickle look modules up by name
        spec.loader.exec_module(module)
        return module
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # the user's code may raise anything, or end
        way = "correct it" if source.endswith(".py") else "install it, or give FILE.py:FUNCTION"
        raise InputError(f"{source} cannot be imported: {one_line(error)}; {way}") from error
