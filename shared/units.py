"""Formats numbers, durations and sizes for people, and reads sizes."""

import re


def digits(number: float, count: int = 2) -> str:
    """`count` significant digits, or all before the point: 0.0123 -> 0.012, 1234 -> 1,234."""
    return f"{number:.{count}g}" if number < 10**count - 0.5 else f"{number:,.0f}"


def duration(seconds: float) -> str:
    """A time in the largest unit that gives 1 or more: 5400 -> 1.5 h, 0.36 -> 360 ms.

    Hours are the largest unit, because machines are booked by the hour.
    """
    for unit, length in (("h", 3600), ("min", 60), ("s", 1)):
        if seconds >= length:
            return f"{digits(seconds / length)} {unit}"
    return f"{digits(1000 * seconds)} ms"


def size(num_bytes: float) -> str:
    """A size with three digits and a decimal unit: 1234567 -> 1.23 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 999.5:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:,.3g} TB"


def parse_size(text: str) -> int:
    """Bytes in a size such as 512GB, 1.5 TB or 64GiB; decimal units without the i.

    Raises ValueError if it is none."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kMGT]?)(i?)B?", text.strip())
    if match is None or float(match[1]) == 0:
        raise ValueError(f"a size must look like 512GB or 1.5TB: got {text!r}")
    power = 1 + "kMGT".index(match[2]) if match[2] else 0
    return int(float(match[1]) * (1024 if match[3] else 1000) ** power)
