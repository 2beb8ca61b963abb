"""What is wrong with a receipt, and what to do about it."""

from shared.errors import InputError
from shared.formats.format import FORMATS
from shared.records.block import Skipped
from shared.records.manifest import Manifest
from shared.records.receipt import Receipt, receipt_path

AGAIN = "run the same precompute/run.py command again"
# Where only a hash tells that a file is damaged: without --check, precompute/run.py compares sizes.
AGAIN_CHECKING = f"{AGAIN} with --check, or precompute/verify.py with --repair"


def fitting_receipt(
    where: str, manifest: Manifest, data: bytes, unit: tuple[int, int, str]
) -> Receipt:
    """The receipt in `data`, of `unit` (view, block, layer) of the cache `where`.

    Raises InputError if it is damaged or that of another block."""
    path = receipt_path(*unit)
    try:
        receipt = Receipt.from_json(data)
    except ValueError as error:
        raise _damaged(where, path, error) from error
    rows = manifest.rows(unit[1])
    found = (receipt.view, receipt.block, receipt.layer)
    if unit != found or (receipt.start, receipt.stop) != (rows.start, rows.stop):
        raise InputError(
            f"{where}/{path} is the receipt of another block, {receipt.block} of view "
            f"{receipt.view}: delete it and run precompute/run.py again"
        )
    try:
        files = set(FORMATS[manifest.format].array_paths(manifest, *unit).values())
        receipt.require_fit(manifest, files)
    except ValueError as error:
        raise _damaged(where, path, error) from error
    return receipt


def _damaged(where: str, path: str, error: ValueError) -> InputError:
    return InputError(
        f"the receipt {where}/{path} is damaged ({error}): {AGAIN}, it makes the block again"
    )


def missing_block(where: str, view: int, block: int, layer: str) -> InputError:
    what = f"block {block} of view {view}" + (f" of {layer}" if layer else "")
    return InputError(
        f"the cache {where} is incomplete: {what} is missing; {AGAIN}, it makes what is missing"
    )


def require_same_skips(
    where: str, receipt: Receipt, other: int, theirs: tuple[Skipped, ...]
) -> None:
    """Raises InputError unless a block leaves out `theirs`, as it does in view `other`."""
    if receipt.skipped == theirs:
        return
    mine = {index: (key, reason) for index, key, reason in receipt.skipped}
    others = {index: (key, reason) for index, key, reason in theirs}
    if differing := sorted(mine.keys() ^ others.keys()):
        key, reason = (mine | others)[differing[0]]
        own = f"{receipt.layer} of view {receipt.view}" if receipt.layer else ""
        views = [own or f"view {receipt.view}", f"view {other}"]
        lacks, has = views if differing[0] in mine else reversed(views)
        raise InputError(
            f"block {receipt.block} in {where} lacks {key!r} in {lacks} ({reason}) and "
            f"has it in {has}, but an image must be left out of all of them or of none: "
            f"{AGAIN}, it makes both blocks again"
        )
