"""What is drawn: promised values, uniform and independent, a function of seed, number and index."""

import numpy as np
import pytest

from shared.pixels.augment import draw_erasing, draw_jitter, draw_noise
from shared.pixels.augmentation import Augmentation
from shared.pixels.mix import Mix, _levels, draw_mix
from shared.pixels.rand_augment import NAMES, draw_operations
from shared.pixels.words import below, purpose, share, words

DRAWS = 4000
MIXUP, CUTMIX = Augmentation(mixup=0.2), Augmentation(cutmix=1.0)
BOTH = Augmentation(mixup=0.2, cutmix=1.0)


def test_promised_values() -> None:
    """Caches hold what was drawn so: a change here makes training replay other pixels."""
    jitter = draw_jitter(0, 0, 0, (0.4, 0.4, 0.4, 0.1))
    assert (jitter.order, [round(f, 6) for f in jitter.factors]) == JITTER
    assert draw_operations(1, 2, 3, 3) == OPERATIONS
    assert [draw_erasing(5, 1, index, 0.5, 224) for index in range(4)] == ERASING
    assert draw_noise(0, 0, 1, 1, 3).flatten().tolist() == NOISE
    assert [draw_mix(MIXUP, 0, 0, index, 100, 224) for index in range(2)] == MIXED
    assert [draw_mix(CUTMIX, 2**64 - 1, 3, index, 1281167, 224) for index in (0, 1281166)] == CUT


JITTER = ((2, 1, 0, 3), [0.644975, 1.380845, 1.118801, 0.066845])
OPERATIONS = [("ShearX", True), ("ShearX", False), ("Brightness", False)]
ERASING = [(118, 72, 68, 148), (127, 5, 32, 73), (80, 66, 74, 41), None]
NOISE = [171, 12, 248, 190, 101, 14, 43, 215, 38]
MIXED = [Mix(partner=74, share=0.99609375, box=None), Mix(partner=34, share=0.9375, box=None)]
CUT = [
    Mix(partner=833222, share=0.6973852040816326, box=(43, 120, 189, 224)),
    Mix(partner=921813, share=0.5465959821428571, box=(49, 94, 224, 224)),
]


def test_words_differ_by_purpose_seed_number_and_index() -> None:
    base = (1, purpose("jitter"), 2, 3)
    streams = [base]
    for place, other in enumerate((9, purpose("mix"), 9, 9)):
        streams.append((*base[:place], other, *base[place + 1 :]))
    found = [word for stream in streams for word in words(*stream, 50).tolist()]
    assert len(set(found)) == 5 * 50
    assert words(*base, 10).tolist() == words(*base, 50).tolist()[:10]


def test_whole_range_of_a_word() -> None:
    last = 2**64 - 1
    assert (below(0, 7), below(last, 7), below(last, 1)) == (0, 6, 0)
    assert share(0) == 0 and 1 - 2**-31 < share(last) < 1


def test_jitter_is_uniform_and_its_order_is_any() -> None:
    drawn = [draw_jitter(7, 0, index, (0.4, 0.2, 1.0, 0.1)) for index in range(DRAWS)]
    factors = np.array([jitter.factors for jitter in drawn])
    for column, (middle, reach) in enumerate(((1, 0.4), (1, 0.2), (1, 1.0), (0, 0.1))):
        values = (factors[:, column] - middle) / reach
        assert values.min() > -1 and values.max() < 1
        assert abs(values.mean()) < 0.05 and abs(values.var() - 1 / 3) < 0.03
    orders = {jitter.order for jitter in drawn}
    assert len(orders) == 24 and all(sorted(order) == [0, 1, 2, 3] for order in orders)


def test_operations_and_signs_are_equally_likely() -> None:
    drawn = [op for index in range(DRAWS) for op in draw_operations(0, 1, index, 2)]
    for name in NAMES:
        signs = [negative for op, negative in drawn if op == name]
        assert abs(len(signs) - 2 * DRAWS / 14) < 120
        assert abs(sum(signs) / len(signs) - 0.5) < 0.08


def test_rectangles_are_erased_as_often_as_asked_and_lie_inside() -> None:
    boxes = [draw_erasing(0, 0, index, 0.25, 64) for index in range(DRAWS)]
    found = np.array([box for box in boxes if box is not None])
    assert abs(len(found) / DRAWS - 0.25) < 0.03
    top, left, height, width = found.T
    assert (
        (found >= [0, 0, 1, 1]).all() and (top + height <= 64).all() and (left + width <= 64).all()
    )
    area = height * width / 64**2
    assert 0.015 < area.min() < 0.03 and 0.3 < area.max() < 0.345
    assert 0.25 < (height / width).min() < 0.4 and 2.5 < (height / width).max() < 4
    assert draw_erasing(0, 0, 0, 0.0, 64) is None


@pytest.mark.parametrize("alpha", [0.05, 0.2, 1.0, 4.0])
def test_levels_are_those_of_a_beta_distribution(alpha: float) -> None:
    levels = np.array(_levels(alpha)) / 256
    assert (np.diff(levels) >= 0).all() and levels[0] >= 0 and levels[-1] <= 1
    assert abs(levels.mean() - 0.5) < 1e-12
    assert abs(levels.var() - 1 / (4 * (2 * alpha + 1))) < 2e-4  # the variance of Beta(a, a)
    if alpha == 1.0:  # the uniform distribution
        assert np.abs(levels - (np.arange(4096) + 0.5) / 4096).max() <= 0.5 / 256


@pytest.mark.parametrize("how", [MIXUP, CUTMIX, BOTH], ids=str)
def test_partners_are_all_others_equally_often(how: Augmentation) -> None:
    drawn = [(index % 5, draw_mix(how, 0, index, index % 5, 5, 32)) for index in range(DRAWS)]
    mixes = [(index, mix) for index, mix in drawn if mix is not None]
    assert all(mix.partner != index for index, mix in mixes)
    pairs = [(index, mix.partner) for index, mix in mixes]
    counts = [pairs.count((a, b)) for a in range(5) for b in range(5) if a != b]
    assert min(counts) > 0.6 * len(pairs) / 20
    shares = [mix.share if mix is not None else 1.0 for _, mix in drawn]
    # A cut rectangle is clipped, so the sample itself keeps more than half on average.
    assert abs(np.mean(shares) - 0.5) < 0.03 if how == MIXUP else np.mean(shares) > 0.5
    cuts = sum(mix.box is not None for _, mix in mixes)
    assert {MIXUP: cuts == 0, CUTMIX: cuts == len(mixes)}.get(how, 0.3 < cuts / len(mixes) < 0.7)


def test_a_single_sample_has_no_partner() -> None:
    assert draw_mix(BOTH, 0, 0, 0, 1, 32) is None
    mixes = [draw_mix(BOTH, 0, number, 1, 2, 32) for number in range(50)]
    assert {mix.partner for mix in mixes if mix is not None} == {0}


def test_the_share_of_a_cut_is_its_area() -> None:
    for index in range(200):
        mix = draw_mix(CUTMIX, 0, 0, index, 1000, 33)
        if mix is not None:
            assert isinstance(mix, Mix) and mix.box is not None
            top, left, bottom, right = mix.box
            assert 0 <= top < bottom <= 33 and 0 <= left < right <= 33
            assert abs(mix.share - (1 - (bottom - top) * (right - left) / 33**2)) < 1e-12
