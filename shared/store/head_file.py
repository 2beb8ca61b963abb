"""Stores the teacher's last layer in a cache, for codecs that derive logits from the embedding.

    head.npy    (C, C_4 + 1) float32: weight (C, C_4), with bias (C,) as the last column

C classes, C_4 channels in the last stage.
"""

import hashlib
import io

import numpy as np
import torch

from shared.records.manifest import TeacherFacts
from shared.targets.targets import Head

HEAD = "head.npy"


def head_digest(head: Head | None) -> str:
    """sha256 of weight and bias, as float32 bytes; of no bytes if there is no linear head."""
    parts = () if head is None else (head.weight, head.bias)
    return hashlib.sha256(b"".join(part.float().numpy().tobytes() for part in parts)).hexdigest()


def encode_head(head: Head) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, torch.cat([head.weight, head.bias[:, None]], dim=1).numpy())
    return buffer.getvalue()


def decode_head(data: bytes, facts: TeacherFacts) -> Head:
    """Raises ValueError if `data` is not the head.npy of the head with the sha256 in `facts`.

    NumPy's header is not parsed. The numbers are read from the end of the file, and encoding them
    must give the same file.
    """
    width = facts.embedding_width + 1
    size = 4 * facts.classes * width
    if len(data) < size:
        raise ValueError(f"it has {len(data):,} bytes, and its numbers alone take {size:,}")
    table = np.frombuffer(data[len(data) - size :], np.float32).reshape(facts.classes, width)
    head = Head(torch.from_numpy(table[:, :-1].copy()), torch.from_numpy(table[:, -1].copy()))
    if data != encode_head(head):
        raise ValueError("it is not a file of that many float32 numbers")
    if head_digest(head) != facts.head_sha256:
        raise ValueError("its sha256 is not the one in the manifest")
    return head
