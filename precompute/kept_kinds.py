"""Decides which kinds of targets a precompute run keeps, from --targets and an existing cache."""

import argparse

from shared.errors import InputError
from shared.files.objects import open_files
from shared.records.manifest import MANIFEST, Manifest
from shared.store.opening import read_manifest
from shared.targets.codecs import CODECS, require_derivable
from shared.targets.kinds import BASE, kind_of, kinds_asked
from shared.targets.teacher import Teacher, form_of


def kinds_to_keep(
    flags: argparse.Namespace, teacher: Teacher, size: int, there: Manifest | None
) -> tuple[tuple[str, ...], dict[str, tuple[int, ...]]]:
    """(`Manifest.targets`, `Manifest.added`): kinds in the blocks, and other kinds -> their shapes.

    An existing cache, whose manifest is `there`, keeps its kinds, and the requested ones are added.
    The embedding is not stored again if the channel means contain it; one that they do not contain
    is kept where the codec derives the logits from it.

    Raises InputError for an unknown kind, or if the cache's codec or version does not support it.
    """
    form = form_of(teacher)
    asked = None
    if flags.targets is not None:
        asked = kinds_asked(flags.targets, len(teacher.model.channels))
    if there is None:
        names = asked or BASE
        targets = tuple(name for name in BASE if name in names)
        added: dict[str, tuple[int, ...]] = {}
    else:
        names, targets, added = asked or (), there.targets, dict(there.added)
    new = [name for name in names if name not in targets and name not in added]
    if form.pooled and "embedding" in new and "channels" in {*targets, *added, *new}:
        new.remove("embedding")
    derives = CODECS[flags.codec].derives_logits and form.is_linear and "logits" in targets
    if derives and not form.pooled and "embedding" not in {*added, *new}:
        new.append("embedding")
    if new and there is not None and there.format_version == 1:
        raise InputError(
            f"{flags.cache} was made by version 1, which keeps logits and channels only: give "
            f"another --cache to keep {', '.join(new)}"
        )
    require_derivable(flags.codec, (*targets, *added, *new), form)
    if new:
        facts = teacher.facts(size)
        added.update({name: kind_of(name).shape(facts) for name in new})
    return targets, added


def manifest_there(flags: argparse.Namespace) -> Manifest | None:
    """The manifest of the cache that the run adds to; None if it makes a new one."""
    files = open_files(flags.cache, flags.split)
    return read_manifest(files, flags.split) if files.exists(MANIFEST) else None
