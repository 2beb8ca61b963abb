"""Formats numbers, durations and sizes for people."""


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
