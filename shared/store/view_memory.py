"""What a view of a cache takes in the memory of a machine that trains from it.

The targets of a view lie in memory once, for all processes of a machine, with some room for those
of the next view, which are read meanwhile. If they take more than WINDOW, training keeps only a
window of them, which slides along the view (shared/epochs/windows.py). View shards are streamed
and take none of this.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

from shared.errors import InputError
from shared.records.manifest import Manifest
from shared.targets.codecs import CODECS, num_bytes, require_derivable
from shared.units import digits, size

# Bytes of targets in the memory of a machine; a view that has more is not kept as a whole. It is
# the same on every machine, as the order of samples depends on it.
WINDOW = 16 << 30
ROOM = 1.15  # views or windows in memory
BESIDE = 44  # bytes per sample of the split: box, flip, guided and place, for two views


@dataclass(frozen=True)
class ViewMemory:
    row: int  # bytes of the targets of a sample
    samples: int
    is_whole: bool  # whether there is no need for windows
    is_streamed: bool  # view shards

    @property
    def view(self) -> int:
        """Bytes of the targets of all samples."""
        return self.row * self.samples

    @property
    def resident(self) -> int:
        """Bytes that a machine needs, for all of its processes together."""
        if self.is_streamed:
            return 0
        targets = self.view if self.is_whole else max(WINDOW, self.row)
        return int(ROOM * targets) + BESIDE * self.samples


def view_memory(manifest: Manifest, kinds: Collection[str] | None = None) -> ViewMemory:
    """For a recipe that needs `kinds`; None stands for every kind in the cache."""
    encoding = manifest.encoding
    fields = encoding.fields()
    needed = fields if kinds is None else encoding.needed(kinds)
    row = num_bytes({name: fields[name] for name in needed})
    streamed = manifest.holds_pixels
    whole = streamed or fits_whole(manifest.blocks, manifest.block * row, WINDOW)
    return ViewMemory(row, manifest.samples, whole, streamed)


def fits_whole(blocks: int, block_bytes: int, most: int) -> bool:
    """Whether a view of so many blocks takes at most `most` bytes; one block always does."""
    return blocks <= max(1, most // max(1, block_bytes))


def in_codecs(manifest: Manifest) -> dict[str, Manifest]:
    """Codec -> the manifest of the same targets in it, for every codec that can hold them."""
    found = {}
    for codec in CODECS.values():
        try:
            names = (*manifest.targets, *manifest.added)
            require_derivable(codec.name, names, manifest.teacher.form)
        except InputError:
            continue
        found[codec.name] = replace(manifest, codec=codec.name, codec_version=codec.version)
    return found


def memory_problem(
    manifest: Manifest, memory: float, kinds: Collection[str] | None = None
) -> str | None:
    """Why a view does not fit into a machine with `memory` bytes; None if it does."""
    view = view_memory(manifest, kinds)
    what = (
        f"the targets of {manifest.samples:,} images with codec {manifest.codec} take "
        f"{size(view.view)} a view ({view.row:,} bytes an image)"
    )
    if not view.is_whole:
        return (
            f"{what}, and training keeps at most {size(WINDOW)} in memory: it goes through a view "
            f"in windows of {digits(100 * WINDOW / view.view)} % of it"
        )
    if view.resident > memory:
        return (
            f"{what}, {size(view.resident)} with what is read ahead, and this machine has "
            f"{size(memory)} of memory"
        )
    return None


def what_fits(manifest: Manifest, memory: float, kinds: Collection[str] | None = None) -> str:
    """What a cache would need to be like for a view of it to fit, for messages."""
    mine = view_memory(manifest, kinds)
    found = [
        f"--codec {codec} ({size(view.view)} a view)"
        for codec, other in in_codecs(manifest).items()
        if (view := view_memory(other, kinds)).view < mine.view
        and memory_problem(other, memory, kinds) is None
    ]
    return f"what fits: {', '.join([*found, '--format webdataset, which is streamed'])}"
