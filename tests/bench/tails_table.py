"""The table of tails.py: means, deviations, and paired differences with 95 % intervals."""

import math
from statistics import mean, stdev

# Of Student's t: the half width of a 95 % interval from n = 2, 3, ... pairs, in standard errors.
T95 = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13)


def table(results: dict[str, list[float]], against: list[str]) -> list[str]:
    """Mean and deviation, and the paired differences to some arms with their 95 % intervals."""
    rows = [f"| arm [targets] | val top-1 | {' | '.join(f'- {name}' for name in against)} |"]
    rows.append("|---|---:|" + "---:|" * len(against))
    for name, values in results.items():
        cells = [paired(values, results[other]) for other in against]
        rows.append(f"| {name} | {spread(values)} | {' | '.join(cells)} |")
    return rows


def spread(values: list[float]) -> str:
    return f"{mean(values):.2f} ± {stdev(values) if len(values) > 1 else 0:.2f}"


def paired(ours: list[float], theirs: list[float]) -> str:
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    n = len(differences)
    width = T95[min(n - 2, len(T95) - 1)] * stdev(differences) / math.sqrt(n) if n > 1 else 0
    return f"{mean(differences):+.2f} ± {width:.2f}"
