"""The losses on embeddings as their formulas say, one number at a time, in float64."""

import math
from itertools import product

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from train.batch import Batch, StudentOutputs
from train.losses import CRD, L2, PKT, RKD, SRD, SRRL, Loss, NormDirection

Rows = NDArray[np.float64]


def plain(tensor: Tensor) -> Rows:
    return tensor.detach().double().numpy()


def huber(x: float, beta: float | None) -> float:
    if beta is None or abs(x) <= beta:
        return x * x
    return beta**2 + 2 * beta * (abs(x) - beta)


def slow_l2(ours: Rows, theirs: Rows, spread: Rows, beta: float | None) -> float:
    total = 0.0
    for i, c in np.ndindex(ours.shape):
        x = ours[i, c] - theirs[i, c]
        total += huber(x if beta is None else x / spread[c], beta)
    return total / ours.shape[1]


def slow_srrl(loss: SRRL, ours: Rows, theirs: Rows, batch: Batch) -> float:
    spread, head = plain(batch.fixed.spread[-1]), batch.fixed.head
    weight, bias = plain(head.weight), plain(head.bias)
    total = slow_l2(ours, theirs, spread, loss.beta)
    logits = 0.0
    for i, c in product(range(len(ours)), range(len(weight))):
        x = (weight[c] @ ours[i] + bias[c]) - (weight[c] @ theirs[i] + bias[c])
        if loss.beta is not None:
            x /= math.sqrt(sum((w * d) ** 2 for w, d in zip(weight[c], spread, strict=True)))
        logits += huber(x, loss.beta)
    return total + loss.head_weight * logits / len(weight)


def slow_nd(ours: Rows, theirs: Rows, batch: Batch) -> float:
    centres = plain(batch.fixed.classes.centres)
    total = 0.0
    for f, g, label in zip(ours, theirs, batch.labels.tolist(), strict=True):
        longer = max(math.sqrt(f @ f), math.sqrt(g @ g))
        total += 1 - (f @ centres[label]) / longer
    return total


def slow_srd(ours: Rows, theirs: Rows) -> float:
    total = 0.0
    for c in range(ours.shape[1]):
        z, y = (
            [(x - col.mean()) / math.sqrt(col.var() + 1e-4) for x in col]
            for col in (ours[:, c], theirs[:, c])
        )
        total += sum((a - b) ** 4 for a, b in zip(z, y, strict=True))
    return math.log(total + 1e-12)


def slow_pkt(ours: Rows, theirs: Rows) -> float:
    def probabilities(rows: Rows) -> Rows:
        found = np.zeros((len(rows), len(rows)))
        for i, j in np.ndindex(found.shape):
            cosine = rows[i] @ rows[j] / math.sqrt((rows[i] @ rows[i]) * (rows[j] @ rows[j]))
            found[i, j] = (1 + cosine) / 2
        return found / found.sum(1, keepdims=True)

    q, p = probabilities(ours), probabilities(theirs)
    total = sum(p[i] * math.log((p[i] + 1e-7) / (q[i] + 1e-7)) for i in np.ndindex(p.shape))
    return total / len(ours) ** 2


def smooth(x: float) -> float:
    return x * x / 2 if abs(x) <= 1 else abs(x) - 0.5


def slow_rkd(loss: RKD, ours: Rows, theirs: Rows) -> float:
    count = len(ours)

    def distance(rows: Rows, i: int, j: int) -> float:
        return math.sqrt(sum((a - b) ** 2 for a, b in zip(rows[i], rows[j], strict=True)))

    def mean(rows: Rows) -> float:
        pairs = [distance(rows, i, j) for i, j in np.ndindex(count, count) if i != j]
        return sum(pairs) / len(pairs) if pairs else 1.0

    def cosine(rows: Rows, i: int, j: int, k: int) -> float:
        if i in (j, k):
            return 0.0
        between = (rows[j] - rows[i]) @ (rows[k] - rows[i])
        return between / (distance(rows, i, j) * distance(rows, i, k))

    mine, others = mean(ours), mean(theirs)
    distances = sum(
        smooth(distance(ours, *ij) / mine - distance(theirs, *ij) / others)
        for ij in np.ndindex(count, count)
    )
    angles = sum(
        smooth(cosine(ours, *ijk) - cosine(theirs, *ijk)) for ijk in np.ndindex(*[count] * 3)
    )
    return loss.distance * distances / count**2 + loss.angle * angles / count**3


def slow_crd(loss: CRD, student: StudentOutputs, batch: Batch) -> float:
    memory, negatives = batch.fixed.memory, loss.negatives
    drawn, known = memory.draw(negatives).tolist(), memory.labels.tolist()
    total = 0.0
    for side, (part, kept) in enumerate(
        (("crd_student", memory.teacher), ("crd_teacher", memory.student))
    ):
        bank, noise = plain(kept), negatives / len(kept)
        for i, row in enumerate(plain(student.parts[part])):
            unit = row / math.sqrt(row @ row)
            constant = math.exp(memory.log_sums[side].item())

            def p(sample: int, unit: Rows = unit, bank: Rows = bank, z: float = constant) -> float:
                return math.exp(unit @ bank[sample] / loss.tau) / z

            own = p(batch.index[i].item())
            total -= math.log(own / (own + noise))
            others = [j for j in drawn if known[j] != batch.labels[i]]
            logs = sum(math.log(noise / (p(j) + noise)) for j in others)
            total -= logs * negatives / max(1, len(others))
    return total / len(batch.labels)


def slow(loss: Loss, student: StudentOutputs, batch: Batch) -> float:
    ours, theirs = plain(student.embedding), plain(batch.targets["embedding"])
    match loss:
        case L2(beta):
            return slow_l2(ours, theirs, plain(batch.fixed.spread[-1]), beta) / batch.count
        case SRRL():
            return slow_srrl(loss, plain(student.parts["srrl"]), theirs, batch) / batch.count
        case NormDirection():
            return slow_nd(ours, theirs, batch) / batch.count
        case SRD():
            return slow_srd(plain(student.parts["srd"]), theirs)
        case PKT():
            return slow_pkt(ours, theirs)
        case RKD():
            return slow_rkd(loss, ours, theirs)
        case CRD():
            return slow_crd(loss, student, batch)
