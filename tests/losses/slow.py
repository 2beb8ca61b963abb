"""The losses on logits as their papers write them: one sample at a time, in float64."""

import math

import numpy as np

from train.batch import Batch, StudentOutputs
from train.losses import DIST, DKD, IKL, KD, NKD, WTTM, GuidedKD, Loss, TargetClass, WKDLogits


def slow_softmax(logits: np.ndarray, temperature: float) -> list[float]:
    top = max(float(x) for x in logits)
    powers = [math.exp((float(x) - top) / temperature) for x in logits]
    return [power / sum(powers) for power in powers]


def kl(p: list[float], q: list[float]) -> float:
    return sum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True))


def standardised(x: np.ndarray) -> np.ndarray:
    mean = sum(x) / len(x)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in x) / (len(x) - 1))
    return (x - mean) / (1e-7 + deviation)


def dkd(loss: DKD, s: np.ndarray, t: np.ndarray, y: int) -> float:
    p, q = slow_softmax(t, loss.temperature), slow_softmax(s, loss.temperature)
    yes_or_no = kl([p[y], sum(p) - p[y]], [q[y], sum(q) - q[y]])
    rest = [
        [value / (sum(row) - row[y]) for k, value in enumerate(row) if k != y] for row in (p, q)
    ]
    return loss.temperature**2 * (loss.alpha * yes_or_no + loss.beta * kl(*rest))


def target_class(s: np.ndarray, t: np.ndarray, y: int) -> float:
    return -slow_softmax(t, 1)[y] * math.log(slow_softmax(s, 1)[y])


def nkd(loss: NKD, s: np.ndarray, t: np.ndarray, y: int) -> float:
    p = slow_softmax(np.delete(t, y), loss.temperature)
    q = slow_softmax(np.delete(s, y), loss.temperature)
    other = -sum(a * math.log(b) for a, b in zip(p, q, strict=True))
    return target_class(s, t, y) + loss.gamma * loss.temperature**2 * other


def wttm(loss: WTTM, s: np.ndarray, t: np.ndarray) -> float:
    r = [p**loss.exponent for p in slow_softmax(t, 1)]
    z = sum(r)
    return (z if loss.weighted else 1) * kl([value / z for value in r], slow_softmax(s, 1))


def ikl(loss: IKL, s: np.ndarray, t: np.ndarray, prior: np.ndarray) -> float:
    apart = 0.0
    for j in range(len(s)):
        for k in range(len(s)):
            apart += ((t[j] - t[k]) - (s[j] - s[k])) ** 2 * float(prior[j]) * float(prior[k])
    p, q = slow_softmax(t, loss.temperature), slow_softmax(s, loss.temperature)
    entropy = -sum(a * math.log(b) for a, b in zip(p, q, strict=True))
    return loss.beta * apart / 4 + loss.alpha * entropy


def cost_of(loss: WKDLogits, batch: Batch) -> np.ndarray:
    if loss.cost == "fc":
        w = batch.fixed.head.weight.double().numpy()
        lengths = [math.sqrt(sum(row**2)) for row in w]
        cosines = [
            [a @ b / (m * n) for b, n in zip(w, lengths, strict=True)]
            for a, m in zip(w, lengths, strict=True)
        ]
        distance = 1 - np.array(cosines)
    else:
        distance = batch.fixed.classes.distance.double().numpy()
    return 1 - np.exp(-loss.kappa * distance) if loss.kappa else distance


def wkd(loss: WKDLogits, s: np.ndarray, t: np.ndarray, y: int, cost: np.ndarray) -> float:
    """With the label cut out of everything, and the plan written out."""
    q_s = np.array(slow_softmax(np.delete(s, y), loss.temperature))
    q_t = np.array(slow_softmax(np.delete(t, y), loss.temperature))
    cost = np.delete(np.delete(cost, y, 0), y, 1)
    kernel = np.exp(-cost / loss.eps)
    u = np.full(len(q_s), 1 / len(q_s))
    for _ in range(loss.iterations):
        v = q_t / (kernel.T @ u + 1e-8)
        u = q_s / (kernel @ v + 1e-8)
    plan = u[:, None] * kernel * v[None, :]
    return float((plan * cost).sum())


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - sum(a) / len(a), b - sum(b) / len(b)
    return sum(a * b) / (math.sqrt(sum(a**2)) * math.sqrt(sum(b**2)) + 1e-8)


def dist(loss: DIST, s: np.ndarray, t: np.ndarray) -> float:
    """Of a whole batch, (B, C)."""
    ours, theirs = (np.array([slow_softmax(row, loss.temperature) for row in x]) for x in (s, t))
    rows = [correlation(a, b) for a, b in zip(ours, theirs, strict=True)]
    columns = [correlation(a, b) for a, b in zip(ours.T, theirs.T, strict=True)]
    inter, intra = 1 - sum(rows) / len(rows), 1 - sum(columns) / len(columns)
    return loss.temperature**2 * (loss.beta * inter + loss.gamma * intra)


def slow_of_logits(loss: Loss, student: StudentOutputs, batch: Batch) -> float:
    ours = student.logits.detach().double().numpy()
    theirs = batch.targets["logits"].double().numpy()
    if isinstance(loss, DIST):
        return dist(loss, ours, theirs)
    total = 0.0
    for i, (s, t, y) in enumerate(zip(ours, theirs, batch.labels.tolist(), strict=True)):
        match loss:
            case KD(temperature, standardise=True) | GuidedKD(temperature, standardise=True):
                if isinstance(loss, KD) or batch.guided[i]:
                    p, q = (slow_softmax(standardised(x), temperature) for x in (t, s))
                    total += temperature**2 * kl(p, q)
            case DKD():
                total += dkd(loss, s, t, y)
            case TargetClass():
                total += target_class(s, t, y)
            case NKD():
                total += nkd(loss, s, t, y)
            case WTTM():
                total += wttm(loss, s, t)
            case IKL():
                total += ikl(loss, s, t, batch.fixed.classes.prior[y].double().numpy())
            case WKDLogits():
                total += wkd(loss, s, t, y, cost_of(loss, batch))
            case _:
                raise AssertionError(loss)
    count = batch.divisor(loss.needs)
    return total / count if count else 0.0
