"""What a log needs: checked before images are listed and anything is computed."""

from importlib.util import find_spec
from pathlib import Path

from shared.errors import InputError
from shared.files.location import Location

PACKAGES = ("tensorboard", "wandb")  # each is the name of its log, of its package and of its extra


def require_logs(names: tuple[str, ...], folder: Location) -> None:
    """Raises InputError if a package is missing, or a log cannot be kept at the run's folder."""
    for name in PACKAGES:
        if name in names and not _is_installed(name):
            raise InputError(
                f"--log {name} needs the package {name}, which is not installed: "
                f"pip install {name}, or leave it out"
            )
    if "tensorboard" in names and not isinstance(folder, Path):
        raise InputError(
            f"--log tensorboard appends to its files as the run goes on, which is not possible at "
            f"{folder}: leave it out, as metrics.jsonl has the same numbers, or give --out a folder"
        )


def _is_installed(package: str) -> bool:
    """A folder of that name, as wandb makes one for its files, is no package."""
    spec = find_spec(package)
    return spec is not None and spec.origin is not None
