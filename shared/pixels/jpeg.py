"""Encodes a view's pixels as the JPEG that a view shard stores, and decodes it."""

from io import BytesIO

import torch
from PIL import Image
from torch import Tensor

from shared.pixels.decode import decode

QUALITY = 95
SUBSAMPLING = 2  # Pillow's code for 4:2:0: 22 kB at 224 px, a third less than 4:4:4


def encode_pixels(pixels: Tensor) -> bytes:
    """(3, S, S) uint8 -> JPEG."""
    buffer = BytesIO()
    image = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
    image.save(buffer, format="JPEG", quality=QUALITY, subsampling=SUBSAMPLING)
    return buffer.getvalue()


def decode_pixels(data: bytes) -> Tensor:
    """JPEG -> (3, S, S) uint8, channels last in memory: what teacher and student see."""
    return torch.from_numpy(decode(data)).permute(2, 0, 1)
