"""Default teacher weights: ImageNet's, or for the built-in digits a teacher trained first."""

import argparse
import shlex
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from shared.errors import InputError
from shared.images.source import ImageSource
from shared.models.build import stem_for
from shared.models.names import parse_name
from shared.models.weights import LIBRARYS_OWN, OWN
from shared.stop import StopRequest

ROOT = Path(__file__).resolve().parents[1]

IMAGENET_WEIGHTS = "IMAGENET1K_V1"

# (teacher, stem) -> the recipe that trains it; its run is in the folder of that name.
RECIPES = {
    ("resnet34", "imagenet"): "digits.resnet34.ce",
    ("cifar_resnet20", "cifar"): "digits.cifar_resnet20.ce",
}

RUNS = ROOT / "runs"

DIGITS_TEACHER = RUNS / "digits.resnet34.ce"


def default_weights(source: ImageSource, flags: argparse.Namespace) -> str:
    library = parse_name(flags.teacher).library
    if library == "timm":
        return LIBRARYS_OWN
    if library == "own":
        return OWN
    if source.spec != "digits":
        return IMAGENET_WEIGHTS
    stem = stem_for(flags.teacher, flags.stem)
    recipe = RECIPES.get((flags.teacher, stem))
    if recipe is None:
        raise InputError(
            f"there is no built-in {flags.teacher} with stem {stem} for digits, only resnet34 with "
            f"stem imagenet and cifar_resnet20: give its --weights"
        )
    folder = RUNS / recipe
    if not (folder / "done").is_file():
        _train(flags.teacher, recipe, folder, flags.device)
    return str(folder / "best.pt")


def _train(teacher: str, recipe: str, folder: Path, device: str | None) -> None:
    """Trains a teacher for digits with train/run.py, as none is published: the small one in about a
    minute on two cores. It is validated after the last epoch only, so val images choose nothing."""
    command = [sys.executable, str(ROOT / "train" / "run.py"), "--recipe", recipe]
    command += ["--images", "digits", "--student", teacher, "--teacher", "none"]
    command += ["--validate-every", "1000"]
    command += ["--out", str(folder), *(["--device", device] if device else [])]
    print("digits has no teacher yet; training it first:\n  " + shlex.join(command), flush=True)
    with StopRequest() as stop, subprocess.Popen(command) as training:
        while (code := training.poll()) is None:
            with suppress(subprocess.TimeoutExpired):
                training.wait(0.1)
            if stop.signal is not None:
                training.terminate()  # harmless if the group has had the signal
        stop.check()
    if code != 0:
        raise InputError(
            f"training the teacher of digits failed: the command above ended with exit code "
            f"{code}; see its message and start again to resume it"
        )
