"""Writes blocks to a split of a cache, and reads views from it, on disk or in an object store.

    <cache>/<split>/
        manifest.json            what it was made from (manifest.py)
        targets.zarr/...         the arrays (zarr_format.py), or
        shards/...               the view shards (webdataset_format.py)
        keys.txt                 the samples' keys, with targets.zarr only (keys.py)
        head.npy                 the teacher's last layer, if the codec needs it (head_file.py)
        receipts/vVVVV-bBBBBBB.json    one per finished block (receipt.py)
        receipts/vVVVV-bBBBBBB.KIND.json    the same for an added kind of targets
        .claim~..., .alive~...   while processes fill it (precompute/claims.py); no reader looks

Writers write whole blocks and share no files, so any number of processes can fill one cache. If two
write the same block by mistake, they write the same bytes. Readers (block_reader.py) check what
they read.
"""

from shared.errors import InputError
from shared.files.retry import one_line
from shared.files.sealed import MOST_BYTES
from shared.formats.block_files import Arrays
from shared.records.block import Block
from shared.records.receipt import make_receipt, receipt_path
from shared.store.block_reader import BlockReader
from shared.store.head_file import HEAD, decode_head
from shared.store.receipt_checks import AGAIN
from shared.targets.targets import Head

__all__ = ["Arrays", "Cache"]


class Cache(BlockReader):
    """A split of a cache. It can be pickled, and sent to loader workers."""

    def write(self, block: Block, keys: str) -> None:
        """Writes a block's files, then its receipt. `keys`: digest of its samples' keys."""
        data = self.format.encode(self.manifest, block)
        for path, content in data.items():
            self.files.write(path, content)
        receipt = make_receipt(self.manifest, block, keys, data)
        self.files.write(receipt_path(block.view, block.index, block.layer), receipt.to_json())
        self.remember(receipt)

    def head(self) -> Head | None:
        """The teacher's last layer if the codec derives logits from it, else None."""
        if not self.manifest.encoding.derives_logits:
            return None
        try:
            facts = self.manifest.teacher
            numbers = 4 * facts.classes * (facts.embedding_width + 1)
            return decode_head(self.files.read(HEAD, MOST_BYTES + numbers), facts)
        except (FileNotFoundError, ValueError) as error:
            raise InputError(
                f"{self.where}/{HEAD}, the teacher's head from which codec {self.manifest.codec} "
                f"derives logits, is missing or damaged ({one_line(error)}): {AGAIN}, it writes "
                f"the file again"
            ) from error
