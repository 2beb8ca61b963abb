"""What a network may be called on the command line. Imports nothing slow: flags are checked first.

resnet34, convnext_tiny, ...            torchvision's classifiers
cifar_resnet8 ... cifar_resnet110       small ResNets for 32 px
timm/NAME[.TAG]                         any model of timm
hf-hub:OWNER/NAME, local-dir:FOLDER     a timm model with its configuration, on the hub or here
FILE.py:FUNCTION, package.module:FUNCTION    a function that returns your own nn.Module
"""

import re
from dataclasses import dataclass

from shared.choices import ARCHITECTURES, TORCHVISION
from shared.commandline import did_you_mean
from shared.errors import InputError

HUB = ("hf-hub:", "local-dir:")


@dataclass(frozen=True)
class ModelName:
    library: str  # "plain" (the ResNets that are written here), "torchvision", "timm" or "own"
    name: str  # as the library knows it; FILE.py or package.module for an own network
    function: str = ""  # of an own network


def parse_name(text: str) -> ModelName:
    """Raises InputError, with the nearest name, if it is none of these forms."""
    if text in ARCHITECTURES:
        return ModelName("plain", text)
    if text in TORCHVISION:
        return ModelName("torchvision", text)
    if text.startswith("timm/") and text.removeprefix("timm/").strip():
        return ModelName("timm", text.removeprefix("timm/"))
    if text.startswith(HUB) and text.partition(":")[2].strip():
        return ModelName("timm", text)
    source, colon, function = text.rpartition(":")
    if colon and function.isidentifier() and _is_module(source):
        return ModelName("own", source, function)
    if text.rstrip(":").endswith(".py"):
        raise InputError(
            f"{text[:200]} names a file, but not its function that returns the network: give "
            f"{text[:200].rstrip(':')}:FUNCTION"
        )
    known = [*ARCHITECTURES, *TORCHVISION]
    raise InputError(
        f"there is no network called {text[:200]!r}{did_you_mean(text, known)} "
        f"A name is a torchvision classifier, cifar_resnet8 to cifar_resnet110, timm/NAME, "
        f"hf-hub:OWNER/NAME, local-dir:FOLDER or FILE.py:FUNCTION"
    )


def stages_named(text: str | None) -> tuple[str, ...] | None:
    """The value of --stage-modules."""
    return None if text is None else tuple(text.split(","))


def is_name(text: object) -> bool:
    """a network's name"""
    try:
        return isinstance(text, str) and bool(parse_name(text))
    except InputError:
        return False


def _is_module(source: str) -> bool:
    dotted = re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", source)
    return source.endswith(".py") or dotted is not None
