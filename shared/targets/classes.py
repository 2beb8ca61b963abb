"""Per-class statistics of a teacher over a split, for losses that compare samples with classes.

    centres   (C, D)  mean embedding of each class, divided by its L2 norm. KD++: Wang et al.,
                      arXiv 2305.17007; emb_fea_distribution.py and DirectNormLoss of
                      WangYZ1608/Knowledge-Distillation-via-ND fc6f3f9, without the rounding to
                      four decimals there
    prior     (C, C)  row y: mean softmax (T = 1) of the teacher over the samples of class y. IKL:
                      Cui et al., arXiv 2305.13948; trainer.py and IKL_KD.py of jiequancui/DKL
                      c5e8ad2, where it is summed over the previous epoch's views
    distance  (C, C)  1 - linear CKA between the logits of two classes, see cka.py. WKD-L

A class without samples has centre 0, a uniform prior, and distance 1 to all others.

Sums are float64, and results keep BITS significant bits: the last bits of a sum depend on the order
of the samples and on the number of threads. store/classes_file.py stores the result beside a cache.

Shapes: C classes of the data, D numbers in the embedding, n samples of a block.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

BITS = 20  # significant bits kept


@dataclass(frozen=True, eq=False)
class ClassStatistics:
    """Statistics of one view. A tensor is None if the cache has no targets to compute it from."""

    view: int
    samples_per_class: int  # as asked: the most samples of a class that `distance` may compare
    compared: int  # samples of a class that `distance` compares; 0 without `distance`
    counts: Tensor  # (C,) int64: samples of each class, without images that do not decode
    centres: Tensor | None  # (C, D) float32
    prior: Tensor | None  # (C, C) float32
    distance: Tensor | None  # (C, C) float32

    def tensors(self) -> dict[str, Tensor]:
        """The tensors that are there, in the order in which they are stored."""
        named = {
            "counts": self.counts,
            "centres": self.centres,
            "prior": self.prior,
            "distance": self.distance,
        }
        return {name: values for name, values in named.items() if values is not None}

    def on(self, device: torch.device) -> "ClassStatistics":
        moved = {name: values.to(device) for name, values in self.tensors().items()}
        return replace(
            self,
            counts=moved["counts"],
            centres=moved.get("centres"),
            prior=moved.get("prior"),
            distance=moved.get("distance"),
        )

    @property
    def digest(self) -> str:
        """sha256 of everything here, in hex."""
        found = hashlib.sha256(f"{self.view} {self.samples_per_class} {self.compared}".encode())
        for name, values in self.tensors().items():
            found.update(f"\n{name} {list(values.shape)}\n".encode())
            found.update(values.cpu().numpy().tobytes())
        return found.hexdigest()


class ClassSums:
    """Sums over the samples of each class, added up block by block."""

    def __init__(self, classes: int, width: int | None, has_logits: bool) -> None:
        """`width`: D, or None without embeddings."""
        self.counts = torch.zeros(classes, dtype=torch.int64)
        self._embedding = None if width is None else _zeros(classes, width)
        self._softmax = _zeros(classes, classes) if has_logits else None

    def add(self, labels: Tensor, embedding: Tensor | None, logits: Tensor | None) -> None:
        """Adds n samples: labels (n,) int64, embedding (n, D), logits (n, C)."""
        self.counts += torch.bincount(labels, minlength=len(self.counts))
        if self._embedding is not None:
            assert embedding is not None
            self._embedding.index_add_(0, labels, embedding.double())
        if self._softmax is not None:
            assert logits is not None
            self._softmax.index_add_(0, labels, logits.double().softmax(1))

    def centres(self) -> Tensor | None:
        """(C, D) float32 unit vectors; 0 for a class without samples, or whose mean is 0."""
        return None if self._embedding is None else rounded(normalize(self._embedding, dim=1))

    def prior(self) -> Tensor | None:
        """(C, C) float32; 1 / C for a class without samples."""
        if self._softmax is None:
            return None
        counts = self.counts[:, None]
        mean = self._softmax / counts.clamp(min=1)
        return rounded(torch.where(counts > 0, mean, 1 / len(counts)))


def _zeros(*shape: int) -> Tensor:
    return torch.zeros(*shape, dtype=torch.float64)


def rounded(values: Tensor) -> Tensor:
    """float64 -> float32 with BITS significant bits."""
    mantissa, exponent = torch.frexp(values)
    return torch.ldexp((mantissa * 2**BITS).round(), exponent - BITS).float()


def problems(found: ClassStatistics, samples: int) -> Iterator[str]:
    """What cannot be true of the statistics of a split with `samples` samples; none if sound."""
    counts, total = found.counts, int(found.counts.sum())
    if (counts < 0).any() or not 0 < total <= samples:
        yield f"its counts add up to {total:,} of {samples:,} samples"
    for name, values in found.tensors().items():
        if not values.double().isfinite().all():
            yield f"{name} holds numbers that are not finite"
    if found.centres is not None:
        norms = found.centres.double().norm(dim=1)
        if not (((norms - 1).abs() < 1e-5) | (norms == 0)).all():
            yield "a centre is neither of length 1 nor 0"
    if found.prior is not None:
        sums = found.prior.double().sum(1)
        if (found.prior < 0).any() or not ((sums - 1).abs() < 1e-4).all():
            yield "a row of prior is not a distribution"
    if (d := found.distance) is not None:
        bounded = ((d >= 0) & (d <= 1)).all() and (d.diagonal() == 0).all()
        if not (bounded and torch.equal(d, d.T)):
            yield "distance is not symmetric, from 0 to 1 and 0 on the diagonal"
