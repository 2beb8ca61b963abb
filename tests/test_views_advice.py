"""plan.py recommends a number of views: enough of the measured gain, and room on the disk."""

import pytest

from precompute.views_advice import MEASURED, recommended_views, share_of_gain, told_from_noise


def test_the_share_is_that_of_the_loss_that_gains_least() -> None:
    for views in (2, 4, 8, 16):
        shares = [
            (found[views] - found[1]) / (found[max(found)] - found[1])
            for found in told_from_noise()
        ]
        assert share_of_gain(views) == pytest.approx(min(shares))
    assert share_of_gain(1) == 0
    assert share_of_gain(max(map(max, MEASURED.values()))) == share_of_gain(1000) == 1


def test_a_gain_within_the_noise_has_no_share() -> None:
    told = told_from_noise()
    assert MEASURED["CIFAR-10, CE + KD"] in told
    assert MEASURED["CIFAR-100, CE + KD"] not in told


def test_between_measured_numbers_it_grows_with_views() -> None:
    shares = [share_of_gain(views) for views in range(1, 60)]
    assert shares == sorted(shares)
    assert share_of_gain(5) > share_of_gain(4)


def test_the_least_number_of_views_that_is_enough() -> None:
    chosen = recommended_views(lambda views: 100.0 * views, free=10**9)
    assert chosen is not None
    assert share_of_gain(chosen) >= 0.85
    fewer = [views for found in MEASURED.values() for views in found if views < chosen]
    assert all(share_of_gain(views) < 0.85 for views in fewer)


@pytest.mark.parametrize(
    ("free", "chosen"), [(1000, 8), (999, 4), (500, 4), (250, 2), (125, 1), (124, None)]
)
def test_a_fifth_of_the_disk_stays_free(free: float, chosen: int | None) -> None:
    assert recommended_views(lambda views: 100.0 * views, free) == chosen
