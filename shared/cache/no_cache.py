"""What to say where there is no cache, without leading the user to build the wrong one."""

from pathlib import Path

from shared.errors import InputError


def no_cache(location: str | Path, split: str) -> InputError:
    """For a `location` without a manifest of `split`."""
    text = str(location)
    missing = f"--cache must hold {split}/manifest.json: {text} does not"
    if "://" not in text:
        path = Path(text)
        if (path / "manifest.json").exists() and path.name:
            return InputError(
                f"--cache {text} is the folder of one split: give the folder that holds the "
                f"splits, {path.parent}"
            )
        if not path.exists():
            missing = f"--cache must hold {split}/manifest.json: {text} does not exist"
    return InputError(
        f"{missing}; check the path, or make the cache with python precompute/run.py "
        f"--split {split} --images SOURCE --cache {text}"
    )
