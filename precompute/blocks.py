"""Image bytes to finished blocks: decode in workers, teacher on the device, encode.

    request (one batch of samples of one block) -> pixels, boxes -> teacher -> codec -> Block

Batches never cross a block, so a block's bytes depend on nothing but the manifest: not on which
blocks were done before, by whom, or in what order.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from shared.codecs import CODECS, Fields
from shared.errors import InputError
from shared.images import ImageSource
from shared.loader import Draw, PixelBatch, PixelLoader, Request
from shared.stop import check
from shared.store.block import Block, sha256
from shared.store.manifest import Manifest
from shared.targets import Targets
from shared.teacher import Teacher


def compute_blocks(
    manifest: Manifest,
    source: ImageSource,
    teacher: Teacher,
    units: Sequence[tuple[int, int]],
    batch_size: int,
    workers: int,
    device: torch.device,
    skip_bad: bool,
) -> Iterator[Block]:
    """Yields the block of each (view, block) of `units`, in order.

    InputError at an image that does not decode, unless `skip_bad`, and at targets that are not
    finite.
    """
    loader = PixelLoader(
        (source,),
        manifest.size,
        workers,
        pin_memory=device.type == "cuda",
        as_jpeg=manifest.format == "webdataset",
    )
    batches = loader.batches(_requests(manifest, units, batch_size))
    for view, block in units:
        rows = manifest.rows(block)
        parts = []
        for start in range(rows.start, rows.stop, batch_size):
            check(f"finished blocks are kept, {start - rows.start} samples of this one are not")
            batch = next(batches)
            if batch.bad and not skip_bad:
                row, reason = batch.bad[0]
                raise InputError(
                    f"every image must decode: {source.keys[int(batch.index[row])]} in "
                    f"{source.spec} does not ({reason}); mend or remove it, or go on without it "
                    f"with --skip-bad"
                )
            targets = teacher(batch.pixels.to(device, non_blocking=True))
            parts.append(_rows(manifest, source, batch, targets))
        yield _join(source, view, block, rows, parts)


def _requests(
    manifest: Manifest, units: Iterable[tuple[int, int]], batch_size: int
) -> Iterator[Request]:
    for view, block in units:
        rows = manifest.rows(block)
        for start in range(rows.start, rows.stop, batch_size):
            index = np.arange(start, min(start + batch_size, rows.stop))
            yield Request(0, index, Draw(manifest.policy, manifest.seed, view))


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
    source: ImageSource,
    view: int,
    block: int,
    rows: range,
    parts: list[tuple[PixelBatch, Fields, NDArray[np.int32]]],
) -> Block:
    bad = {int(b.index[row]): reason for b, _, _ in parts for row, reason in b.bad}
    checked = [row for row in (rows.start, (rows.start + rows.stop) // 2) if row not in bad]
    pixels = {
        int(index): sha256(batch.pixels[row].numpy().tobytes())
        for batch, _, _ in parts
        for row, index in enumerate(batch.index.tolist())
        if index in checked
    }
    return Block(
        view=view,
        index=block,
        fields={
            name: np.concatenate([fields[name] for _, fields, _ in parts]) for name in parts[0][1]
        },
        box=np.concatenate([batch.box.numpy() for batch, _, _ in parts]),
        flip=np.concatenate([batch.flip.numpy() for batch, _, _ in parts]),
        pred=np.concatenate([pred for _, _, pred in parts]),
        label=source.labels[rows.start : rows.stop],
        images=tuple(image for batch, _, _ in parts for image in batch.images),
        pixels=pixels,
        skipped=tuple((index, source.keys[index], reason) for index, reason in bad.items()),
    )
