"""The images of tails.py, and views of them."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad


def load_images(folder: Path, split: str) -> tuple[Tensor, Tensor]:
    """(N, 3, 32, 32) uint8, (N,) int64."""
    kept = folder / f"{split}.npz"
    if not kept.exists():
        classes = sorted(path for path in (folder / split).iterdir() if path.is_dir())
        files = [(path, label) for label, c in enumerate(classes) for path in sorted(c.iterdir())]
        pixels = np.stack([np.asarray(Image.open(path).convert("RGB")) for path, _ in files])
        np.savez(kept, x=pixels, y=np.array([label for _, label in files]))
    with np.load(kept) as arrays:
        x, y = arrays["x"], arrays["y"]
    return torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(y).long()


def draw(images: Tensor, generator: torch.Generator) -> Tensor:
    """Every image padded by 4 (mirrored), cropped back to its size and flipped, at random."""
    n, _, height, width = images.shape
    padded = pad(images.float(), (4, 4, 4, 4), mode="reflect").to(torch.uint8)
    top, left, flip = (
        torch.randint(bound, (n,), generator=generator).to(images.device) for bound in (9, 9, 2)
    )
    rows = top[:, None] + torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device).expand(n, width)
    columns = left[:, None] + torch.where(flip[:, None] == 1, width - 1 - columns, columns)
    number = torch.arange(n, device=images.device)[:, None, None]
    view = padded.permute(0, 2, 3, 1)[number, rows[:, :, None], columns[:, None, :]]
    return view.permute(0, 3, 1, 2)  # channels last in memory
