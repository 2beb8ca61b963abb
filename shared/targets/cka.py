"""Distances between classes by CKA (centred kernel alignment) of their logits, for WKD-L.

    d(i, j) = 1 - |X_i^T X_j|^2 / (|X_i^T X_i| |X_j^T X_j|),    Frobenius norms

X_i: (N, K) logits of N samples of class i, each column minus its mean. This is linear_CKA_precenter
of tools/generate_cost_matrix.py in JiamingLv/WKD 214cf88 (Lv et al., arXiv 2412.08139), where N is
the number of samples of the smallest class: 732 for ImageNet.

The numerator pairs sample n of one class with sample n of another, which have nothing in common. So
1 - d is about (effective dimensions of the two classes) / N, and d depends on N: keep N at 732 to
stay near the published costs. In the published matrix for ResNet-34 d is 0.966 +- 0.005.

Differences from that code: samples are taken in the order of the source, not shuffled. Logits are
centred over the classes too, as cached logits are defined up to a constant per row. A class with
fewer than N samples repeats them. A class with fewer than 2, or whose logits are all equal, has
d = 1 to every other class.

The same sum is computed from Gram matrices, |X_i^T X_j|^2 = sum of (X_i X_i^T) * (X_j X_j^T), as
one product of (C, N^2) matrices, in slices of MOST_BYTES.

Shapes: C classes of the data, K classes of the teacher (equal to C), N samples of a class.
"""

import math
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LEAST = 64  # samples of a class to compare, if the largest class has as many
MOST_KEPT = 4 << 30  # bytes of logits in memory
MOST_BYTES = 1 << 28  # bytes of Gram matrices in memory
GRID = 2.0**20  # distances are multiples of 1 / GRID: the last bits depend on the threads
CONSTANT = 1e-12  # share of the squares of a class's logits that is left by rounding if all equal

Progress = Callable[[range], Iterable[int]]


class LogitsOfClasses:
    """Keeps the logits of the first N samples of each class in the order of the source, whatever
    the order in which they are given."""

    def __init__(self, classes: int, most: int) -> None:
        self._kept = np.empty((classes, most, classes), np.float32)  # pages are used when written
        self._index = np.full((classes, most), -1, np.int64)
        self._filled = [0] * classes

    def add(self, index: NDArray[np.int64], labels: NDArray[np.int64], logits: Tensor) -> None:
        """Adds n samples: (n,) index in the source, (n,) labels, (n, K) logits."""
        rows = logits.float().numpy()
        most = self._index.shape[1]
        for row, (sample, label) in enumerate(zip(index.tolist(), labels.tolist(), strict=True)):
            place = self._filled[label]
            if place < most:
                self._filled[label] += 1
            elif self._index[label, place := int(self._index[label].argmax())] < sample:
                continue
            self._index[label, place] = sample
            self._kept[label, place] = rows[row]

    def distance(self, progress: Progress = iter) -> tuple[Tensor, int]:
        """((C, C) float32 distances, N). Can be called once, as it overwrites what is kept."""
        many = compared(self._filled, self._index.shape[1])
        sound = []
        for label, (index, filled) in enumerate(zip(self._index, self._filled, strict=True)):
            kept = torch.from_numpy(self._kept[label])
            order = np.resize(index[:filled].argsort(), many)  # repeats if there are fewer
            wide = kept[torch.from_numpy(order)].double() if filled else _nothing(kept, many)
            centred = _centred(wide)
            kept[:many] = centred
            spread, whole = float(centred.square().sum()), float(wide.square().sum())
            sound.append(filled > 1 and spread > CONSTANT * whole)
        similar = _alignment(torch.from_numpy(self._kept[:, :many]), progress)
        usable = torch.tensor(sound)
        similar = torch.where(usable[:, None] & usable, similar, 0.0)
        found = ((1 - similar).clamp(0, 1) * GRID).round() / GRID
        return found.fill_diagonal_(0).float(), many


def most_samples(asked: int, classes: int) -> int:
    """How many samples of each class can be kept; 0 if fewer than LEAST fit into MOST_KEPT."""
    fits = MOST_KEPT // (4 * classes * classes)
    return min(asked, fits) if fits >= min(asked, LEAST) else 0


def compared(filled: list[int], most: int) -> int:
    """N: as many as the smallest class has, but not so few that the others say nothing."""
    smallest = min((count for count in filled if count > 1), default=1)
    return min(most, max(smallest, min(LEAST, max(filled))))


def _nothing(kept: Tensor, many: int) -> Tensor:
    return torch.zeros(many, kept.shape[1], dtype=torch.float64)


def _centred(logits: Tensor) -> Tensor:
    """(N, K) minus the mean of each row, then of each column."""
    logits = logits - logits.mean(1, keepdim=True)
    return logits - logits.mean(0)


def _alignment(centred: Tensor, progress: Progress) -> Tensor:
    """(C, C) float64 CKA of centred logits (C, N, K)."""
    classes, many, _ = centred.shape
    total = torch.zeros(classes, classes, dtype=torch.float64)
    for rows in progress_slices(classes, many, progress):
        # Gram matrices are symmetric: what is right of the diagonal counts twice.
        width = many - rows.start
        grams = torch.empty(classes, len(rows), width, dtype=torch.float64)
        for label in range(classes):
            mine = centred[label, rows.start :].double()
            torch.mm(mine[: len(rows)], mine.T, out=grams[label])
        grams[:, :, len(rows) :] *= math.sqrt(2)
        flat = grams.flatten(1)
        total += flat @ flat.T
    norms = total.diagonal().sqrt()
    return (total + total.T) / 2 / (norms[:, None] * norms).clamp(min=1e-300)


def progress_slices(classes: int, many: int, progress: Progress) -> Iterator[range]:
    """Slices of the N rows of the Gram matrices; those of all classes take up to MOST_BYTES."""
    step = max(1, MOST_BYTES // (8 * classes * many))
    for start in progress(range(0, many, step)):
        yield range(start, min(start + step, many))
