"""The main function of precompute/classes.py: one pass over a view of a cache, in small blocks.

Memory: the logits of --samples-per-class samples of each class, and 1.4 GB besides; 4.3 GB in all
for ImageNet. The file is written at the end, by one atomic write.
"""

import argparse

import torch
from torch import Tensor
from torch.nn.functional import linear
from tqdm import tqdm

from shared.errors import InputError, note, printable
from shared.store.classes_file import CLASSES, encode, offers_logits, read_classes
from shared.store.labelled import labelled_rows
from shared.store.opening import Cache, open_cache
from shared.targets.cka import LogitsOfClasses, most_samples
from shared.targets.classes import ClassStatistics, ClassSums, problems
from shared.targets.targets import Head

ROWS = 1024  # samples that are decoded at a time
PAIRS = 3  # told of the nearest, and of the most confused


def make_classes(flags: argparse.Namespace) -> int:
    if flags.samples_per_class < 2:
        raise InputError(f"--samples-per-class must be 2 or more: got {flags.samples_per_class}")
    cache = open_cache(flags.cache, flags.split)
    if not 0 <= flags.view < cache.manifest.views:
        raise InputError(
            f"--view must be 0 to {cache.manifest.views - 1}, a view of {cache.where}: got "
            f"{flags.view}"
        )
    try:
        found = read_classes(cache)
    except InputError as error:
        note(f"{error}")
        found = None
    if found is None:
        found = measure_classes(cache, flags.view, flags.samples_per_class)
        cache.files.write(CLASSES, encode(cache, found))
        cache.files.remove_stale()
        print(f"done: {cache.where}/{CLASSES}")
    else:
        _require_same(cache, found, flags)
        print(f"{cache.where}/{CLASSES} is there and intact: it is left alone")
    _tell(cache, found)
    return 0


def _require_same(cache: Cache, found: ClassStatistics, flags: argparse.Namespace) -> None:
    """A run may have been trained with the file, so that it is not replaced without being asked."""
    for flag, mine, theirs in (
        ("--view", flags.view, found.view),
        ("--samples-per-class", flags.samples_per_class, found.samples_per_class),
    ):
        if mine != theirs:
            raise InputError(
                f"{cache.where}/{CLASSES} was made with {flag} {theirs}: got {flag} {mine}; give "
                f"the same, or delete the file to make another"
            )


def measure_classes(cache: Cache, view: int, samples_per_class: int) -> ClassStatistics:
    """Raises InputError if the view is incomplete or damaged, or has no usable samples."""
    manifest = cache.manifest
    if manifest.view_policy.mixes:
        raise InputError(
            f"the views of {cache.where} mix two images ({manifest.augment}), and so belong to no "
            f"class: give a cache that was made without mixup and cutmix"
        )
    classes = len(manifest.source.classes)
    has_logits = offers_logits(manifest)
    has_embedding = manifest.encoding.offers("embedding")
    if not has_logits and not has_embedding:
        raise InputError(
            f"{cache.where} keeps neither embeddings nor logits of the classes of its images: add "
            f"one with the same precompute/run.py command and --targets embedding"
        )
    width = manifest.teacher.embedding_width if has_embedding else None
    sums = ClassSums(classes, width, has_logits)
    most = most_samples(samples_per_class, classes) if has_logits else 0
    if has_logits and not most:
        note(f"{classes:,} classes are too many to compare their logits: distance is left out")
    kept = LogitsOfClasses(classes, most) if most else None

    kinds = ["embedding"] * has_embedding + ["logits"] * has_logits
    head = cache.head()
    blocks = labelled_rows(cache, view, manifest.encoding.needed(kinds))
    for block in tqdm(blocks, "blocks", manifest.blocks, leave=False, disable=None):
        for start in range(0, len(block.index), ROWS):
            rows = slice(start, start + ROWS)
            part = {name: values[rows] for name, values in block.fields.items()}
            targets = manifest.encoding.decode(part, None)
            embedding = targets.get("embedding")
            logits = _logits(targets, head) if has_logits else None
            sums.add(torch.from_numpy(block.labels[rows]), embedding, logits)
            if kept is not None and logits is not None:
                kept.add(block.index[rows], block.labels[rows], logits)
    if not sums.counts.any():
        raise InputError(
            f"all images of {cache.where} were left out, as none of them decodes: repair them and "
            f"make the cache again"
        )
    distance, compared = None, 0
    if kept is not None:
        distance, compared = kept.distance(lambda s: tqdm(s, "pairs", leave=False, disable=None))
    found = ClassStatistics(
        view, samples_per_class, compared, sums.counts, sums.centres(), sums.prior(), distance
    )
    for problem in problems(found, manifest.samples):
        raise InputError(
            f"the targets in {cache.where} give no statistics ({problem}): check the cache with "
            f"precompute/verify.py"
        )
    return found


def _logits(targets: dict[str, Tensor], head: Head | None) -> Tensor:
    """Derived logits are computed in float64: the bits of a float32 product depend on threads."""
    if "logits" in targets:
        return targets["logits"]
    assert head is not None
    return linear(targets["embedding"].double(), head.weight.double(), head.bias.double())


def _tell(cache: Cache, found: ClassStatistics) -> None:
    names = cache.manifest.source.classes
    least, most = int(found.counts.min()), int(found.counts.max())
    print(
        f"classes  {len(names):,}, with {int(found.counts.sum()):,} images of view {found.view}: "
        f"{least:,} to {most:,} of each"
    )
    if (few := int((found.counts < 2).sum())) and found.distance is not None:
        note(f"classes with fewer than 2 images: {few:,}; their distance to every other class is 1")
    if found.prior is not None and len(names) > 1:
        others = found.prior.clone().fill_diagonal_(-1)
        pairs = [f"{a} as {b} {p:.2g}" for a, b, p in _largest(others, names)]
        print(printable(f"confused {'; '.join(pairs)}"))
    if found.distance is not None and len(names) > 1:
        others = (-found.distance).tril(-1) + torch.full_like(found.distance, -2).triu()
        pairs = [f"{a} and {b} {-d:.3g}" for b, a, d in _largest(others, names)]
        mean = float(found.distance.double().sum()) / (len(names) * (len(names) - 1))
        print(
            printable(
                f"distance {mean:.3g} on average, by CKA of the logits of {found.compared:,} "
                f"images of each; nearest are {'; '.join(pairs)}"
            )
        )
    print(f"digest   {found.digest}")


def _largest(values: Tensor, names: tuple[str, ...]) -> list[tuple[str, str, float]]:
    """(class of the row, class of the column, value) of the largest values in a (C, C) tensor."""
    count = min(PAIRS, len(names) * (len(names) - 1) // 2)
    best = values.flatten().topk(count)
    places = [divmod(place, len(names)) for place in best.indices.tolist()]
    return [
        (names[row], names[column], value)
        for (row, column), value in zip(places, best.values.tolist(), strict=True)
    ]
