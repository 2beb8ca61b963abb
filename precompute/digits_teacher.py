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

DIGITS_TEACHER = ROOT / "runs" / "digits.resnet34.ce"


def default_weights(source: ImageSource, flags: argparse.Namespace) -> str:
    library = parse_name(flags.teacher).library
    if library == "timm":
        return LIBRARYS_OWN
    if library == "own":
        return OWN
    if source.spec != "digits":
        return IMAGENET_WEIGHTS
    stem = stem_for(flags.teacher, flags.stem)
    if (flags.teacher, stem) != ("resnet34", "imagenet"):
        raise InputError(
            f"there is no built-in {flags.teacher} with stem {stem} for digits, only resnet34 with "
            f"stem imagenet: give its --weights"
        )
    best = DIGITS_TEACHER / "best.pt"
    if not (DIGITS_TEACHER / "done").is_file():
        _train_digits_teacher(flags.device)
    return str(best)


def _train_digits_teacher(device: str | None) -> None:
    """Trains a teacher for digits with train/run.py, as none is published. Takes about a minute."""
    command = [sys.executable, str(ROOT / "train" / "run.py"), "--recipe", "digits.resnet34.ce"]
    command += ["--images", "digits", "--student", "resnet34", "--teacher", "none"]
    command += ["--out", str(DIGITS_TEACHER), *(["--device", device] if device else [])]
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
            f"{code}; see its message and start again, it resumes"
        )
