"""From the flags of a precompute command to what is to be made: source, teacher, manifest."""

import argparse
import platform
import shlex
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
import torchvision

from precompute.skips import share_of_flag
from shared import decode, view
from shared.codecs import CODECS
from shared.device import default_workers, pick_device
from shared.errors import InputError
from shared.images import ImageSource, default_source, open_source
from shared.models import ARCHITECTURES, STEMS, weights_digest
from shared.normalise import NORMALISATIONS
from shared.store.cache import FORMATS, head_digest
from shared.store.manifest import FORMAT_VERSION, ORDERS, Manifest, SourceFacts, TeacherFacts
from shared.teacher import PRECISIONS, Teacher, load_teacher

ROOT = Path(__file__).resolve().parents[1]
DIGITS_TEACHER = ROOT / "runs" / "digits.resnet34.ce"
DEFAULT_VIEWS = 4


@dataclass(frozen=True)
class Job:
    source: ImageSource
    teacher: Teacher
    manifest: Manifest
    device: torch.device
    workers: int


def add_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--split", required=True, help="split of the source to run the teacher over: train, val")
    add("--images", metavar="SOURCE", help="folder with train/ and val/, tars, or a built-in set")
    add("--cache", default="data/teacher_cache", help="folder or URL (s3://...) of the cache")
    add("--format", choices=FORMATS, default="zarr", help="targets only, or self-contained shards")
    add("--views", type=int, metavar="K", help="views an image: epoch e trains on view e mod K")
    add("--policy", choices=view.POLICIES, help="how views are drawn (default: the source's)")
    add("--size", type=int, help="pixels a side (default: the source's)")
    add("--teacher", choices=ARCHITECTURES, default="resnet34")
    add("--stem", choices=STEMS, default="imagenet", help="of the teacher; cifar: 3x3, no max-pool")
    add("--weights", metavar="NAME|FILE", help="torchvision's weight name or a state dict")
    add("--codec", choices=CODECS, default="half")
    add("--precision", choices=PRECISIONS, default="fp32", help="of the teacher's stages")
    add("--batch-size", type=int, default=256)
    add("--workers", type=int, help="decoding processes (default: by device)")
    add("--device", help="cpu, cuda, cuda:1, ... (default: the best there is)")
    add("--seed", type=int, default=0, help="of the views")
    add(
        "--block",
        type=int,
        metavar="N",
        help="samples a block",
    )
    add("--limit", type=int, metavar="N", help="only N samples, spread evenly over the source")
    add(
        "--skip-bad",
        nargs="?",
        type=float,
        const=0.01,
        metavar="SHARE",
        help="go on past images that do not decode, up to this share of them (default 0.01)",
    )


def make_job(flags: argparse.Namespace, local_rank: int = 0) -> Job:
    """InputError where the flags contradict each other or the world."""
    for name in ("views", "size", "batch_size", "block", "limit"):
        if (value := getattr(flags, name)) is not None and value < 1:
            raise InputError(f"--{name.replace('_', '-')} must be 1 or more: got {value}")
    if not 0 <= flags.seed < 2**63:
        raise InputError(f"--seed must be 0 or more and below 2^63: got {flags.seed}")
    if flags.workers is not None and flags.workers < 0:
        raise InputError(f"--workers must be 0 or more: got {flags.workers}")
    share_of_flag(flags.skip_bad)
    source = open_source(open_spec(flags.images), flags.split, flags.limit)
    device = pick_device(flags.device, local_rank)
    weights = flags.weights or _default_weights(source, flags)
    normalisation = NORMALISATIONS[flags.stem]
    teacher = load_teacher(
        flags.teacher,
        flags.stem,
        len(source.classes),
        weights,
        normalisation,
        flags.precision,
        device,
    )
    trains = flags.split == "train"
    policy = flags.policy or (source.policy or "random-resized-crop" if trains else "center")
    views = flags.views or (DEFAULT_VIEWS if policy != "center" else 1)
    if policy == "center" and views > 1:
        raise InputError(
            f"the policy center has one view an image: got --views {views}; leave --views out, or "
            f"choose a random --policy"
        )
    store = FORMATS[flags.format]
    block = flags.block or min(store.DEFAULT_BLOCK, _up_to_chunk(len(source)))
    store.check_block_size(block)
    codec = CODECS[flags.codec]
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        format=flags.format,
        order=ORDERS[flags.format],
        split=flags.split,
        source=SourceFacts(source.spec, len(source), source.digest, source.classes),
        policy=policy,
        size=flags.size or source.size or 224,
        seed=flags.seed,
        views=views,
        interpolation=view.INTERPOLATION,
        antialias=view.ANTIALIAS,
        decoder=decode.DECODER,
        mean=normalisation.mean,
        std=normalisation.std,
        teacher=TeacherFacts(
            flags.teacher,
            flags.stem,
            teacher.model.num_classes,
            teacher.model.channels,
            weights,
            weights_digest(teacher.model),
            head_digest(teacher.head),
        ),
        precision=flags.precision,
        codec=codec.name,
        codec_version=codec.version,
        block=block,
        versions=_versions(),
    )
    workers = default_workers(device) if flags.workers is None else flags.workers
    return Job(source, teacher, manifest, device, workers)


def open_spec(images: str | None) -> str:
    """The source asked for, or the default one, said loudly where it is the built-in."""
    if images is not None:
        return images
    spec = default_source()
    if spec == "digits":
        print(
            "NOTE: no --images and no data/imagenet: using the built-in `digits` "
            "(1,797 handwritten digits of scikit-learn, 32 px)",
            file=sys.stderr,
        )
    return spec


def _default_weights(source: ImageSource, flags: argparse.Namespace) -> str:
    if source.spec != "digits":
        return "IMAGENET1K_V1"
    if (flags.teacher, flags.stem) != ("resnet34", "imagenet"):
        raise InputError(
            f"the built-in teacher of digits is resnet34 with stem imagenet: got {flags.teacher} "
            f"with stem {flags.stem}; give its --weights"
        )
    best = DIGITS_TEACHER / "best.pt"
    if not (DIGITS_TEACHER / "done").is_file():
        _train_digits_teacher(flags.device)
    return str(best)


def _train_digits_teacher(device: str | None) -> None:
    """Nobody publishes a teacher for digits, so train/run.py makes one first: about a minute."""
    command = [sys.executable, str(ROOT / "train" / "run.py"), "--recipe", "digits.resnet34.ce"]
    command += ["--images", "digits", "--student", "resnet34", "--teacher", "none"]
    command += ["--out", str(DIGITS_TEACHER), *(["--device", device] if device else [])]
    print("digits has no teacher yet; training it first:\n  " + shlex.join(command), flush=True)
    if (code := subprocess.run(command, check=False).returncode) != 0:
        raise InputError(
            f"the teacher of digits must train before precompute: the command above ended with "
            f"exit code {code}; see its message and start again, it resumes"
        )


def _up_to_chunk(samples: int) -> int:
    """The smallest allowed block that holds `samples`, so that small sets make small files."""
    return samples if samples <= 1024 else -(-samples // 1024) * 1024


def _versions() -> dict[str, str]:
    """For the reader of a manifest; never compared."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "zarr": version("zarr"),
        "numpy": np.__version__,
    }
