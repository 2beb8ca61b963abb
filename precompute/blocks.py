"""Computes blocks from images: decode in workers, run the teacher on the device, encode.

    request (a batch of samples in one block) -> pixels, boxes -> teacher -> codec -> Block

A batch never spans two blocks, so the contents of a block follow from the manifest and do not
depend on which process makes it or in which order. Only the last bits of the teacher's outputs
depend on the arithmetic: on a GPU, its model, TF32 and the batch size select kernels that sum in
different orders. The same flags on the same machine give the same bytes; the receipt records the
arithmetic.

With batch statistics the batches are fixed (shared/records/teacher_batches.py), and images that do
not decode are removed from their batch before the teacher sees it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from precompute.job import Job
from precompute.skips import Skips
from shared.errors import InputError
from shared.loaders.pixel_loader import Draw, PixelBatch, PixelLoader, Request
from shared.records.block import Arithmetic, Block, Work, sha256
from shared.records.teacher_batches import batches_of, least_batch
from shared.stop import check
from shared.targets.encoding import Fields
from shared.targets.targets import Targets


def compute_blocks(
    job: Job,
    todo: Sequence[Work],
    skips: Skips,
    on_batch: Callable[[int], object] = lambda images: None,
) -> Iterator[Block]:
    """Yields the layers of each block in `todo`, in order.

    Calls `on_batch` with the number of images after each batch. Raises InputError if more images do
    not decode than `skips` allows, if targets are not finite, or if a batch has too few images left
    for batch statistics.
    """
    manifest, source = job.manifest, job.source
    loader = PixelLoader(
        (source,),
        manifest.size,
        job.workers,
        pin_memory=job.device.type == "cuda",
        as_jpeg=manifest.holds_pixels,
    )
    batches = loader.batches(_requests(job, todo))
    for work in todo:
        kinds = [kind for layer in work.layers for kind in manifest.kinds_of(layer)]
        parts = []
        for rows in _batches(job, work.block):
            check(f"finished blocks are kept, {rows.start} images of the open one are not")
            batch = next(batches)
            for row, reason in batch.bad:
                index = int(batch.index[row])
                skips.add(index, source.keys[index], source.spec, reason)
            targets = _ask(job, batch, kinds)
            parts.append(_rows(job, batch, targets, kinds))
            on_batch(len(batch.index))
        yield from _join(job, work, parts)


def arithmetic_of(device: torch.device, batch_size: int) -> Arithmetic:
    on_gpu = device.type == "cuda"
    return Arithmetic(
        device=torch.cuda.get_device_name(device) if on_gpu else device.type,
        torch=torch.__version__,
        matmul_tf32=on_gpu and torch.backends.cuda.matmul.allow_tf32,
        cudnn_tf32=on_gpu and torch.backends.cudnn.allow_tf32,
        batch_size=batch_size,
    )


def _requests(job: Job, todo: Iterable[Work]) -> Iterator[Request]:
    manifest = job.manifest
    for view, block, _ in todo:
        samples = manifest.samples_of(block)
        for rows in _batches(job, block):
            # A copy, as torch does not accept a read-only array.
            index = samples[rows.start : rows.stop].copy()
            yield Request(0, index, Draw(manifest.view_policy, manifest.seed, view))


def _batches(job: Job, block: int) -> list[range]:
    """The batches of a block, as ranges of its rows."""
    rows = len(job.manifest.rows(block))
    if job.manifest.teacher_batch is not None:
        return batches_of(rows, job.manifest.teacher_batch)
    return [range(at, min(at + job.batch_size, rows)) for at in range(0, rows, job.batch_size)]


def _ask(job: Job, batch: PixelBatch, kinds: Sequence[str]) -> Targets:
    """The targets of a batch, one row per image; the rows of bad images are meaningless."""
    teacher, least_of = job.teacher, job.manifest.teacher_batch
    if least_of is None or not batch.bad:
        pixels = batch.pixels.to(job.device, non_blocking=True)
        return teacher(pixels, kinds)  # type: ignore[no-any-return]
    rows, bad = len(batch.index), {row for row, _ in batch.bad}
    good = torch.tensor([row for row in range(rows) if row not in bad], dtype=torch.int64)
    if len(good) < (least := least_batch(least_of)):
        raise InputError(
            f"only {len(good)} of the {rows} images from {job.source.keys[int(batch.index[0])]} on "
            f"decode, and --teacher-statistics batch needs {least} images or more in a batch, as "
            f"fewer make noisy statistics: restore the images, or use --teacher-statistics eval"
        )
    pixels = batch.pixels[good].contiguous(memory_format=torch.channels_last)
    targets = teacher(pixels.to(job.device), kinds)
    good = good.to(job.device)

    def among_all(values: Tensor) -> Tensor:
        return values.new_zeros(rows, *values.shape[1:]).index_copy(0, good, values)

    return {name: among_all(values) for name, values in targets.items()}


def _rows(
    job: Job, batch: PixelBatch, targets: Targets, kinds: Sequence[str]
) -> tuple[PixelBatch, Fields, NDArray[np.int32]]:
    """(batch, fields, predictions). Bad images have fields 0 and prediction -1."""
    finite = torch.stack([values.isfinite().flatten(1).all(1) for values in targets.values()])
    if not finite.all():
        index = int(batch.index[int(finite.all(0).cpu().int().argmin())])
        raise InputError(
            f"the teacher's outputs for {job.source.keys[index]} are not finite: check the "
            f"weights, or use --precision fp32"
        )
    fields = job.manifest.encoding.encode(targets, kinds)
    pred = targets["logits"].argmax(1).cpu().numpy().astype(np.int32)
    bad = [row for row, _ in batch.bad]
    pred[bad] = -1
    for values in fields.values():
        values[bad] = 0
    return batch, fields, pred


def _join(
    job: Job, work: Work, parts: list[tuple[PixelBatch, Fields, NDArray[np.int32]]]
) -> Iterator[Block]:
    manifest, source = job.manifest, job.source
    samples = manifest.samples_of(work.block)
    bad = {int(b.index[row]): reason for b, _, _ in parts for row, reason in b.bad}
    good = [index for index in samples.tolist() if index not in bad]
    checked = {good[0], good[len(good) // 2]} if good else set()
    pixels = {
        int(index): sha256(batch.pixels[row].numpy().tobytes())
        for batch, _, _ in parts
        for row, index in enumerate(batch.index.tolist())
        if index in checked
    }
    mixed = (
        _mixed(source.labels, [batch for batch, _, _ in parts])
        if manifest.view_policy.mixes
        else ()
    )
    with_keys = manifest.holds_pixels and manifest.format_version > 1
    for layer in work.layers:
        names = manifest.encoding.fields(manifest.kinds_of(layer))
        yield Block(
            view=work.view,
            index=work.block,
            fields={name: np.concatenate([f[name] for _, f, _ in parts]) for name in names},
            box=np.concatenate([batch.box.numpy() for batch, _, _ in parts]),
            flip=np.concatenate([batch.flip.numpy() for batch, _, _ in parts]),
            pred=np.concatenate([pred for _, _, pred in parts]),
            label=source.labels[samples],
            images=tuple(image for batch, _, _ in parts for image in batch.images),
            keys=tuple(source.keys[index] for index in samples.tolist()) if with_keys else (),
            pixels=pixels,
            skipped=tuple((index, source.keys[index], reason) for index, reason in bad.items()),
            arithmetic=arithmetic_of(job.device, manifest.teacher_batch or job.batch_size),
            layer=layer,
            mixed=mixed,
        )


def _mixed(
    labels: NDArray[np.int64], batches: Iterable[PixelBatch]
) -> tuple[tuple[int, float], ...]:
    """(label of the partner, weight of the own label) for each row of a block."""
    found: list[tuple[int, float]] = []
    for batch in batches:
        assert batch.partner is not None and batch.share is not None
        partners = labels[batch.partner.numpy()].tolist()
        found += zip(partners, batch.share.tolist(), strict=True)
    return tuple(found)
