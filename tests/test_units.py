"""Sizes and times as a person reads them."""

import pytest

from shared.units import digits, duration, size


@pytest.mark.parametrize(
    "num_bytes, text",
    [(0, "0 B"), (999, "999 B"), (999.6, "1 kB"), (1_234_567, "1.23 MB"), (5e13, "50 TB")],
)
def test_size(num_bytes: float, text: str) -> None:
    assert size(num_bytes) == text


@pytest.mark.parametrize(
    "seconds, text",
    [
        (2e-5, "0.02 ms"),
        (0.0999, "100 ms"),
        (0.36, "360 ms"),
        (1, "1 s"),
        (59.96, "60 s"),
        (90, "1.5 min"),
        (5400, "1.5 h"),
        (36e5, "1,000 h"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    "number, count, text",
    [
        (0.0123, 2, "0.012"),
        (9.96, 2, "10"),
        (99.4, 2, "99"),
        (99.6, 2, "100"),
        (1234.5, 3, "1,234"),
    ],
)
def test_digits(number: float, count: int, text: str) -> None:
    assert digits(number, count) == text
