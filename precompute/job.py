"""Turns the flags of a precompute command into a Job: source, teacher and manifest."""

import argparse
import platform
import sys
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import torch
import torchvision

from precompute.chosen_teacher import (
    choose_teacher,
    require_classes,
    require_same_classes,
    teacher_facts,
)
from precompute.fixed_batches import block_of_batches, require_fixed_batches
from precompute.flags import DEFAULT_VIEWS
from precompute.kept_kinds import kinds_to_keep, manifest_there
from precompute.skips import share_of_flag
from shared.choices import VAL_POLICY, has_one_view
from shared.device import default_workers, pick_device
from shared.errors import InputError
from shared.images.source import ImageSource, default_source, open_source
from shared.models.names import parse_name
from shared.pixels import decode, view
from shared.pixels.augmentation import parse_augmentation
from shared.records.manifest import Manifest, SourceFacts
from shared.records.manifest_schema import FORMAT_VERSION, ORDERS
from shared.records.teacher_batches import TEACHER_BATCH
from shared.store.opening import FORMATS
from shared.targets.codecs import CODECS
from shared.targets.teacher import Teacher, load_teacher

BUILT_IN_CLASSES = {"imagenette": 10, "cifar10": 10, "cifar100": 100}


@dataclass(frozen=True)
class Job:
    source: ImageSource
    teacher: Teacher
    manifest: Manifest
    device: torch.device
    workers: int
    batch_size: int  # of the teacher's forward passes, unless the manifest fixes it


def make_job(flags: argparse.Namespace, local_rank: int = 0) -> Job:
    """The Job for these flags.

    Raises InputError if flags are invalid, contradict each other or do not fit the images.
    """
    for name in ("views", "size", "batch_size", "block", "limit"):
        if (value := getattr(flags, name)) is not None and value < 1:
            raise InputError(f"--{name.replace('_', '-')} must be 1 or more: got {value}")
    if not 0 <= flags.seed < 2**63:
        raise InputError(f"--seed must be 0 or more and below 2^63: got {flags.seed}")
    if flags.workers is not None and flags.workers < 0:
        raise InputError(f"--workers must be 0 or more: got {flags.workers}")
    share_of_flag(flags.skip_bad)
    _augment(flags, flags.policy)
    parse_name(flags.teacher)  # before images are listed
    by_batch = flags.teacher_statistics == "batch"
    if by_batch:
        require_fixed_batches(flags)
    spec = open_spec(flags.images)
    if spec in BUILT_IN_CLASSES:
        require_classes(spec, BUILT_IN_CLASSES[spec], flags)  # before the download
    source = open_source(spec, flags.split, flags.limit)
    if spec != "digits":
        require_classes(spec, len(source.classes), flags)
    store = FORMATS[flags.format]
    block = flags.block or min(store.DEFAULT_BLOCK, _up_to_chunk(len(source)))
    if by_batch:
        block = block_of_batches(source, flags.block, block)
    store.check_block_size(block)
    device = pick_device(flags.device, local_rank)
    choice, how = choose_teacher(flags, source)
    teacher = load_teacher(choice, device)
    require_same_classes(flags, source, teacher)
    trains = flags.split == "train"
    policy = flags.policy or (source.policy or "random-resized-crop" if trains else VAL_POLICY)
    views = flags.views or (1 if has_one_view(policy) else DEFAULT_VIEWS)
    if has_one_view(policy) and views > 1:
        raise InputError(
            f"--views {views} does not fit the policy {policy}, which has one view an image: leave "
            f"--views out, or choose a random --policy"
        )
    codec = CODECS[flags.codec]
    there = manifest_there(flags)
    targets, added = kinds_to_keep(flags, teacher, choice.size, there)
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        format=flags.format,
        order=ORDERS[flags.format],
        split=flags.split,
        source=SourceFacts(source.spec, len(source), source.digest, source.classes),
        policy=policy,
        size=choice.size,
        seed=flags.seed,
        views=views,
        interpolation=how.interpolation,
        antialias=view.ANTIALIAS,
        decoder=decode.DECODER,
        mean=choice.normalisation.mean,
        std=choice.normalisation.std,
        teacher=teacher_facts(teacher, choice, there),
        precision=flags.precision,
        codec=codec.name,
        codec_version=codec.version,
        block=block,
        versions=_versions(),
        statistics=flags.teacher_statistics,
        teacher_batch=TEACHER_BATCH if by_batch else None,
        targets=targets,
        added=added,
        crop=how.crop,
        augment=_augment(flags, policy),
    )
    workers = default_workers(device) if flags.workers is None else flags.workers
    return Job(source, teacher, manifest, device, workers, flags.batch_size)


def _augment(flags: argparse.Namespace, policy: str | None) -> str | None:
    """The value of --augment as the manifest holds it. Raises InputError if the split or the policy
    cannot have it."""
    if flags.augment is None:
        return None
    if flags.split == "val" or (policy is not None and has_one_view(policy)):
        what = "--split val" if flags.split == "val" else f"the policy {policy}"
        raise InputError(
            f"--augment does not fit {what}, whose images have one view each, as published "
            f"accuracies do: leave --augment out"
        )
    return str(parse_augmentation(flags.augment))


def open_spec(images: str | None) -> str:
    """The source in the flag, or the default; prints a note if that is the built-in one."""
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


def _up_to_chunk(samples: int) -> int:
    """The smallest allowed block size that holds `samples`, so that small sets make small files."""
    return samples if samples <= 1024 else -(-samples // 1024) * 1024


def _versions() -> dict[str, str]:
    """Versions of packages, as information for readers of a manifest; they are never compared."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "zarr": version("zarr"),
        "numpy": np.__version__,
    }
