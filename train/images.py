"""The two splits that training and evaluation look at, and what is wrong where one is not there."""

from pathlib import Path

from shared.errors import InputError
from shared.images.source import ImageSource, open_source

NEITHER = ("train", "val")


def open_images(spec: str, split: str, limit: int | None = None) -> ImageSource:
    """open_source, whose message speaks of precompute's --split, which these commands lack."""
    root = Path(spec).expanduser()
    if root.is_dir() and not any((root / name).is_dir() for name in NEITHER):
        folders = sorted(path.name for path in root.iterdir() if path.is_dir())
        files = any(path.is_file() for path in root.iterdir())
        if folders and not files:
            raise InputError(
                f"{spec} has no train/ and no val/: it holds the folders {_some(folders)}; if they "
                f"are classes, move them into train/ and keep some images of each for val/"
            )
    try:
        return open_source(spec, split, limit)
    except InputError as error:
        if root.is_dir() and not (root / split).is_dir() and str(error).startswith("--split "):
            found = str(error).rpartition(": ")[2]
            raise InputError(
                f"{spec} has no {split} split, which this command needs: {found}; add a folder "
                f"{split}/, or give other --images"
            ) from error
        raise


def _some(names: list[str]) -> str:
    return ", ".join([*names[:3], "..."] if len(names) > 3 else names)
