"""Image bytes to finished blocks: decode in workers, teacher on the device, encode.

    request (one batch of samples of one block) -> pixels, boxes -> teacher -> codec -> Block

Batches never cross a block, so what a block says follows from the manifest: not from which blocks
were done before, by whom, or in what order. The last bits of the teacher's outputs also depend on
the arithmetic: on a GPU, its model, TF32 and the batch size choose the kernels, which sum in other
orders. On one machine with the same flags the bytes are the same; the receipt says what they were.

Where the teacher's statistics are those of batches, the manifest says which batches
(shared/cache/teacher_batches.py), and images that do not decode are taken out of theirs before
the teacher sees it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from precompute.skips import Skips
from shared.cache.block import Arithmetic, Block, sha256
from shared.cache.manifest import Manifest
from shared.cache.teacher_batches import batches_of, least_batch
from shared.errors import InputError
from shared.images.source import ImageSource
from shared.loaders.pixel_loader import Draw, PixelBatch, PixelLoader, Request
from shared.stop import check
from shared.targets.codecs import CODECS, Fields
from shared.targets.targets import Targets
from shared.targets.teacher import Teacher


def compute_blocks(
    manifest: Manifest,
    source: ImageSource,
    teacher: Teacher,
    units: Sequence[tuple[int, int]],
    batch_size: int,
    workers: int,
    device: torch.device,
    skips: Skips,
    on_batch: Callable[[int], object] = lambda images: None,
) -> Iterator[Block]:
    """Yields the block of each (view, block) of `units`, in order; `on_batch` is told the number of
    images of every batch that is through the teacher. The manifest's batch size, where it has one,
    comes before `batch_size`.

    InputError at an image that does not decode and is one more than `skips` allows, at targets
    that are not finite, and at a batch with too few images left for its statistics.
    """
    batch_size = manifest.teacher_batch or batch_size
    loader = PixelLoader(
        (source,),
        manifest.size,
        workers,
        pin_memory=device.type == "cuda",
        as_jpeg=manifest.format == "webdataset",
    )
    batches = loader.batches(_requests(manifest, units, batch_size))
    arithmetic = arithmetic_of(device, batch_size)
    for view, block in units:
        parts = []
        for rows in _batches(manifest, block, batch_size):
            check(f"finished blocks are kept, {rows.start} images of the open one are not")
            batch = next(batches)
            for row, reason in batch.bad:
                index = int(batch.index[row])
                skips.add(index, source.keys[index], source.spec, reason)
            targets = _ask(teacher, manifest, source, batch, device)
            parts.append(_rows(manifest, source, batch, targets))
            on_batch(len(batch.index))
        yield _join(manifest, source, view, block, parts, arithmetic)


def arithmetic_of(device: torch.device, batch_size: int) -> Arithmetic:
    on_gpu = device.type == "cuda"
    return Arithmetic(
        device=torch.cuda.get_device_name(device) if on_gpu else device.type,
        torch=torch.__version__,
        matmul_tf32=on_gpu and torch.backends.cuda.matmul.allow_tf32,
        cudnn_tf32=on_gpu and torch.backends.cudnn.allow_tf32,
        batch_size=batch_size,
    )


def _requests(
    manifest: Manifest, units: Iterable[tuple[int, int]], batch_size: int
) -> Iterator[Request]:
    for view, block in units:
        samples = manifest.samples_of(block)
        for rows in _batches(manifest, block, batch_size):
            index = samples[rows.start : rows.stop].copy()  # torch takes no read-only array
            yield Request(0, index, Draw(manifest.policy, manifest.seed, view))


def _batches(manifest: Manifest, block: int, batch_size: int) -> list[range]:
    """Rows of the block."""
    rows = len(manifest.rows(block))
    if manifest.teacher_batch is not None:
        return batches_of(rows, manifest.teacher_batch)
    return [range(at, min(at + batch_size, rows)) for at in range(0, rows, batch_size)]


def _ask(
    teacher: Teacher,
    manifest: Manifest,
    source: ImageSource,
    batch: PixelBatch,
    device: torch.device,
) -> Targets:
    """The targets of a batch's rows; those of bad images say nothing."""
    if manifest.teacher_batch is None or not batch.bad:
        return teacher(batch.pixels.to(device, non_blocking=True))  # type: ignore[no-any-return]
    rows, bad = len(batch.index), {row for row, _ in batch.bad}
    good = torch.tensor([row for row in range(rows) if row not in bad], dtype=torch.int64)
    if len(good) < (least := least_batch(manifest.teacher_batch)):
        raise InputError(
            f"--teacher-statistics batch needs {least} images or more in a batch, as fewer make "
            f"noisy statistics: only {len(good)} of the {rows} from "
            f"{source.keys[int(batch.index[0])]} on decode; restore the images, or use "
            f"--teacher-statistics eval"
        )
    pixels = batch.pixels[good].contiguous(memory_format=torch.channels_last)
    targets = teacher(pixels.to(device))
    good = good.to(device)

    def spread(values: Tensor) -> Tensor:
        return values.new_zeros(rows, values.shape[1]).index_copy(0, good, values)

    return Targets(spread(targets.logits), tuple(map(spread, targets.channels)))


def _rows(
    manifest: Manifest, source: ImageSource, batch: PixelBatch, targets: Targets
) -> tuple[PixelBatch, Fields, NDArray[np.int32]]:
    """A batch's fields and predictions; zeros and -1 where the image is bad."""
    finite = targets.logits.isfinite().all(1)
    for mean in targets.channels:
        finite &= mean.isfinite().all(1)
    if not finite.all():
        index = int(batch.index[int(finite.cpu().int().argmin())])
        raise InputError(
            f"a teacher's outputs must be finite: they are not for {source.keys[index]}; check "
            f"the weights, or use --precision fp32"
        )
    fields = CODECS[manifest.codec].encode(targets)
    pred = targets.logits.argmax(1).cpu().numpy().astype(np.int32)
    bad = [row for row, _ in batch.bad]
    pred[bad] = -1
    for values in fields.values():
        values[bad] = 0
    return batch, fields, pred


def _join(
    manifest: Manifest,
    source: ImageSource,
    view: int,
    block: int,
    parts: list[tuple[PixelBatch, Fields, NDArray[np.int32]]],
    arithmetic: Arithmetic,
) -> Block:
    samples = manifest.samples_of(block)
    bad = {int(b.index[row]): reason for b, _, _ in parts for row, reason in b.bad}
    good = [index for index in samples.tolist() if index not in bad]
    checked = {good[0], good[len(good) // 2]} if good else set()
    pixels = {
        int(index): sha256(batch.pixels[row].numpy().tobytes())
        for batch, _, _ in parts
        for row, index in enumerate(batch.index.tolist())
        if index in checked
    }
    with_keys = manifest.format == "webdataset" and manifest.format_version > 1
    return Block(
        view=view,
        index=block,
        fields={
            name: np.concatenate([fields[name] for _, fields, _ in parts]) for name in parts[0][1]
        },
        box=np.concatenate([batch.box.numpy() for batch, _, _ in parts]),
        flip=np.concatenate([batch.flip.numpy() for batch, _, _ in parts]),
        pred=np.concatenate([pred for _, _, pred in parts]),
        label=source.labels[samples],
        images=tuple(image for batch, _, _ in parts for image in batch.images),
        keys=tuple(source.keys[index] for index in samples.tolist()) if with_keys else (),
        pixels=pixels,
        skipped=tuple((index, source.keys[index], reason) for index, reason in bad.items()),
        arithmetic=arithmetic,
    )
