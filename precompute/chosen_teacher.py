"""From the flags of a command to a teacher: which network and weights, how images are made for it,
and which of its classes are those of the data."""

import argparse
import re
from dataclasses import replace
from pathlib import Path

from precompute.batch_mates import rows_of
from precompute.digits_teacher import IMAGENET_WEIGHTS, default_weights
from shared.errors import InputError
from shared.images.source import ImageSource
from shared.images.torchvision_sets import CIFAR
from shared.models.build import USUAL_SIZE, stem_for
from shared.models.names import parse_name, stages_named
from shared.models.preparation import Preparation, preparation_asked, preparation_of
from shared.models.weights import weights_digest
from shared.records.manifest import Manifest, TeacherFacts
from shared.store.head_file import head_digest
from shared.targets.teacher import Teacher, TeacherChoice


def choose_teacher(
    flags: argparse.Namespace, source: ImageSource
) -> tuple[TeacherChoice, Preparation]:
    """The library's own preparation of images, but for what flags and source say.

    Raises InputError if there is no such network, or flags contradict each other.
    """
    stem = stem_for(flags.teacher, flags.stem)
    weights = flags.weights or default_weights(source, flags)
    usual = preparation_of(flags.teacher, stem, weights)
    usual = replace(usual, size=source.size or usual.size or USUAL_SIZE)
    how = preparation_asked(flags, usual)
    assert how.size is not None
    class_map = read_class_map(flags.classes, source) if flags.classes else None
    choice = TeacherChoice(
        flags.teacher,
        stem,
        None if class_map or not _keeps_logits(flags) else len(source.classes),
        weights,
        how.size,
        how.normalisation,
        flags.precision,
        flags.teacher_statistics,
        stages_named(flags.stage_modules),
        class_map,
    )
    return choice, how


def require_classes(spec: str, classes: int, flags: argparse.Namespace) -> None:
    """Raises InputError if published weights, which know ImageNet's 1000 classes, meet other data.

    Checked before images are downloaded.
    """
    weights = flags.weights or IMAGENET_WEIGHTS
    theirs = parse_name(flags.teacher).library in ("plain", "torchvision")
    published = theirs and weights.startswith("IMAGENET1K") and not Path(weights).is_file()
    if not published or classes == 1000 or flags.classes or not _keeps_logits(flags):
        return
    cifar = spec in CIFAR or stem_for(flags.teacher, flags.stem) == "cifar"
    recipe = "cifar.resnet50.ce" if cifar else "resnet18.ce"
    raise InputError(
        f"the weights {weights} know ImageNet's 1000 classes, and {spec} has {classes}: train a "
        f"teacher first (python train/run.py --images {spec} --teacher none --recipe {recipe} "
        f"--student {flags.teacher} --out runs/teacher), then give --weights runs/teacher/best.pt"
        + (" --stem cifar" if cifar and not flags.teacher.startswith("cifar") else "")
        + "; or say which of the 1000 they are with --classes FILE; or keep no logits with "
        "--targets channels"
    )


def require_same_classes(flags: argparse.Namespace, source: ImageSource, teacher: Teacher) -> None:
    """Raises InputError unless the teacher has the data's classes, or its logits are not kept."""
    if _keeps_logits(flags) and teacher.classes != len(source.classes):
        raise InputError(
            f"the teacher {flags.teacher} has {teacher.classes:,} classes and {source.spec} has "
            f"{len(source.classes):,}: say which of the teacher's they are with --classes FILE, or "
            f"keep no logits with --targets channels"
        )


def read_class_map(path: Path, source: ImageSource) -> tuple[int, ...]:
    """The teacher's class for each class of the data, from lines NAME NUMBER.

    Raises InputError unless every class of the data is named once, with a number of its own.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--classes {path} cannot be read: {error}; give a text file") from error
    found: dict[str, int] = {}
    for place, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        *words, number = line.rsplit(maxsplit=1)
        name = words[0].strip() if words else ""
        if not name or not re.fullmatch("[0-9]{1,9}", number) or name in found:
            raise InputError(
                f"line {place} of --classes {path} is {line[:60]!r}: it must be the name of a "
                f"class of the images and the teacher's number for it, counted from 0, each once"
            )
        found[name] = int(number)
    if missing := [name for name in source.classes if name not in found]:
        raise InputError(
            f"--classes {path} lacks {len(missing)} of the {len(source.classes)} classes of "
            f"{source.spec}, first {missing[0]!r}: add a line for each"
        )
    numbers = tuple(found[name] for name in source.classes)
    if len(set(numbers)) < len(numbers):
        raise InputError(f"--classes {path} gives two classes one number: correct it")
    return numbers


def teacher_facts(
    teacher: Teacher, choice: TeacherChoice, there: Manifest | None = None
) -> TeacherFacts:
    """`there`: the cache's manifest, if it exists: the probe of batch-mates runs once a cache."""
    model = teacher.model
    return TeacherFacts(
        choice.architecture,
        choice.stem,
        teacher.classes,
        model.channels,
        choice.weights,
        weights_digest(model.network),
        head_digest(teacher.head),
        embedding=None if model.pooled else model.embedding_width,
        linear=model.linear_head is not None,
        signed=model.signed,
        stage_modules=model.stage_modules,
        class_map=choice.class_map,
        rows=rows_of(teacher, choice.size) if there is None else there.teacher.rows,
    )


def _keeps_logits(flags: argparse.Namespace) -> bool:
    return flags.targets is None or "logits" in flags.targets.split(",")
