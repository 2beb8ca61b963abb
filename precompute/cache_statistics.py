"""What a teacher said over a split: its accuracy, its confidence, and its loss on each sample.

The cache is read block by block, each view once, and only a few numbers of each sample are kept:
its label, its loss summed over the views, and the teacher's answer in each view.

Shapes: N samples, V complete views, n samples in a block, C classes, C_s channels in stage s.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import log_softmax
from tqdm import tqdm

from precompute.complete_views import kinds_shown
from shared.epochs.guide import TeacherCorrect
from shared.errors import InputError
from shared.store.classes_file import offers_logits
from shared.store.labelled import LabelledRows, labelled_rows
from shared.store.opening import Cache
from shared.targets.targets import Head

ROWS = 1024  # samples that are decoded at a time
BINS = 20  # of confidence, from 0 to 1
NOT_SEEN = -1  # label of a sample that was left out


@dataclass
class OfView:
    """Sums over the samples of one view."""

    view: int
    samples: int = 0
    right: int = 0  # the teacher's answer is the label
    guided: int = 0
    loss: float = 0.0
    confidence: float = 0.0


class CacheStatistics:
    """Filled by `measure`. What the cache does not allow is None, or stays 0."""

    def __init__(self, cache: Cache, views: Sequence[int]) -> None:
        manifest = cache.manifest
        self.manifest = manifest
        self.has_labels = manifest.teacher.classes == len(manifest.source.classes)
        self.has_logits = manifest.encoding.offers("logits")
        self.has_loss = offers_logits(manifest)
        self.has_channels = manifest.encoding.offers("channels")
        self.of_view = [OfView(view) for view in views]
        answer = np.min_scalar_type(-manifest.teacher.classes)
        self.answers = np.full((len(views), manifest.samples), -1, answer)  # (V, N)
        self.labels = np.full(manifest.samples, NOT_SEEN, np.int64)
        self.loss = np.zeros(manifest.samples)  # summed over the views
        # (BINS,) views with a confidence in the bin: all, and those answered with the label
        self.in_bin = np.zeros(BINS, np.int64)
        self.right_in_bin = np.zeros(BINS, np.int64)
        self.confidence_in_bin = np.zeros(BINS)
        # Of the first of the views, to compare single views with: (sum of C_s,) each
        width = sum(manifest.teacher.channels)
        self._sum, self._squares, self._rows = np.zeros(width), np.zeros(width), 0

    @property
    def views(self) -> list[int]:
        return [of.view for of in self.of_view]

    @property
    def samples(self) -> int:
        """The samples that have views."""
        return int((self.labels != NOT_SEEN).sum())

    @property
    def rows(self) -> int:
        """All samples in all views."""
        return sum(of.samples for of in self.of_view)

    @property
    def accuracy(self) -> float:
        return sum(of.right for of in self.of_view) / self.rows

    @property
    def guided(self) -> float:
        """The share of all views that are guided."""
        return sum(of.guided for of in self.of_view) / self.rows

    @property
    def calibration_error(self) -> float:
        """The mean distance between confidence and accuracy of the bins, weighted by their views.

        Guo et al., arXiv 1706.04599, with BINS bins of equal width.
        """
        return float(np.abs(self.right_in_bin - self.confidence_in_bin).sum() / self.in_bin.sum())

    @property
    def channel_means(self) -> NDArray[np.float64]:
        return self._sum / max(1, self._rows)

    @property
    def channel_deviations(self) -> NDArray[np.float64]:
        variance = self._squares / max(1, self._rows) - self.channel_means**2
        return np.sqrt(np.maximum(variance, 0))

    def add(self, row: int, rows: LabelledRows, head: Head | None) -> None:
        """Adds a block of view number `row` of `views`."""
        index, of = rows.index, self.of_view[row]
        pred, labels = rows.fields["pred"].numpy(), rows.main_labels
        of.samples += len(index)
        self.answers[row, index] = pred
        self.labels[index] = rows.labels
        right = pred == labels
        if self.has_labels:
            of.right += int(right.sum())
            of.guided += int(self._guided(rows).sum())
        for start in range(0, len(index), ROWS):
            part = slice(start, start + ROWS)
            fields = {name: values[part] for name, values in rows.fields.items()}
            targets = self.manifest.encoding.decode(fields, head)
            if "logits" in targets:
                self._add_logits(of, rows, part, targets["logits"], right[part])
            if "channels" in targets and row == 0:
                means = targets["channels"].double()
                self._sum += means.sum(0).numpy()
                self._squares += means.square().sum(0).numpy()
                self._rows += len(means)

    def _guided(self, rows: LabelledRows) -> Tensor:
        """(n,) bool: none of mixed views, which losses with a guide refuse."""
        pred, labels = rows.fields["pred"], torch.from_numpy(rows.labels)
        if self.manifest.view_policy.mixes:
            return torch.zeros(len(labels), dtype=torch.bool)
        return TeacherCorrect()(pred, lambda: torch.empty(0), labels)

    def _add_logits(
        self, of: OfView, rows: LabelledRows, part: slice, logits: Tensor, right: NDArray[np.bool_]
    ) -> None:
        chances = log_softmax(logits.float(), dim=1)  # (n, C)
        confidence = chances.amax(1).exp().double().nan_to_num(nan=0.0).numpy()
        place = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
        self.in_bin += np.bincount(place, minlength=BINS)
        self.confidence_in_bin += np.bincount(place, confidence, BINS)
        of.confidence += float(confidence.sum())
        if not self.has_loss:
            return
        self.right_in_bin += np.bincount(place[right], minlength=BINS)
        loss = soft_loss(chances, rows, part)
        of.loss += float(loss.sum())
        self.loss[rows.index[part]] += loss


def soft_loss(chances: Tensor, rows: LabelledRows, part: slice) -> NDArray[np.float64]:
    """Cross entropy of `chances`, (n, C) log-probabilities; with both labels of mixed views."""
    row = torch.arange(len(chances))
    own = -chances[row, torch.from_numpy(rows.labels[part])].double()
    if rows.partner is not None and rows.share is not None:
        share = torch.from_numpy(rows.share[part])
        theirs = -chances[row, torch.from_numpy(rows.partner[part])].double()
        own = share * own + torch.where(share < 1, (1 - share) * theirs, 0.0)
    found: NDArray[np.float64] = own.nan_to_num(nan=torch.inf, posinf=torch.inf).numpy()
    return found


def measure(cache: Cache, views: Sequence[int]) -> CacheStatistics:
    """Raises InputError if a block is damaged."""
    found = CacheStatistics(cache, views)
    encoding, head = cache.manifest.encoding, cache.head()
    with tqdm(
        total=len(views) * cache.manifest.blocks, desc="blocks", leave=False, disable=None
    ) as bar:
        for row, view in enumerate(views):
            kinds = [kind for kind in kinds_shown(cache) if kind == "logits" or row == 0]
            cache.know(cache.units_of(view), cache.manifest.layers_for(kinds))
            for rows in labelled_rows(cache, view, [*encoding.needed(kinds), "pred"]):
                found.add(row, rows, head)
                bar.update()
    if not found.samples:
        raise InputError(
            f"all images of {cache.where} were left out, as none of them decodes: repair them and "
            f"make the cache again"
        )
    return found
