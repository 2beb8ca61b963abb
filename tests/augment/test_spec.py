"""--augment: one text for each augmentation, and one line for each mistake."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InputError
from shared.files.sealed import seal, unseal
from shared.pixels.augmentation import Augmentation, parse_augmentation
from shared.records.identity import cache_id, require_same
from shared.records.manifest_json import manifest_json, parse_manifest
from tests.small_cache import make_manifest

strengths = st.integers(0, 100).map(lambda hundredths: hundredths / 100)
alphas = st.integers(5, 400).map(lambda hundredths: hundredths / 100)
augmentations = st.builds(
    Augmentation,
    st.none() | st.tuples(strengths, strengths, strengths, strengths.map(lambda s: s / 2)),
    st.none() | st.tuples(st.integers(1, 8), st.integers(0, 30)),
    st.none() | strengths,
    st.none() | alphas,
    st.none() | alphas,
).filter(lambda how: how != Augmentation())


@given(augmentations)
def test_what_is_written_is_read(how: Augmentation) -> None:
    assert parse_augmentation(str(how)) == how


def test_the_order_of_the_parts_does_not_matter() -> None:
    text = "cutmix=1.0, mixup=.2,erasing=0.25,randaugment=2x9,jitter=0.4"
    how = parse_augmentation(text)
    assert how == Augmentation((0.4, 0.4, 0.4, 0.0), (2, 9), 0.25, 0.2, 1.0)
    assert str(how) == "jitter=0.4:0.4:0.4:0,randaugment=2x9,erasing=0.25,mixup=0.2,cutmix=1"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("jiter=0.4", "--augment has no part 'jiter': did you mean jitter? The parts are jitter, "),
        ("", "--augment has no part ''. The parts are jitter, randaugment, erasing, mixup, cutmix"),
        ("mixup=0.2,mixup=0.2", "--augment has mixup twice: give it once"),
        ("mixup", "--augment: mixup must be a number from 0.05 to 4, like 0.2: got ''"),
        ("mixup=0", "mixup must be a number from 0.05 to 4, like 0.2: got '0'"),
        ("cutmix=nan", "cutmix must be a number from 0.05 to 4, like 0.2: got 'nan'"),
        ("erasing=1.5", "erasing must be a probability from 0 to 1, like 0.25: got '1.5'"),
        ("jitter=0.4:0.4", "and hue (0 to 0.5), like 0.4:0.4:0.4:0.1: got '0.4:0.4'"),
        ("jitter=0.4:0.4:0.4:0.6", "and hue (0 to 0.5), like 0.4:0.4:0.4:0.1: got"),
        (
            "randaugment=9",
            "randaugment must be operations (1 to 8) x magnitude (0 to 30), like 2x9",
        ),
        ("randaugment=2x31", "(0 to 30), like 2x9: got '2x31'"),
        ("erasing=" + "9" * 1000, "got '" + "9" * 40 + "'"),
    ],
)
def test_mistakes(text: str, part: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_augmentation(text)
    assert part in str(caught.value)


def test_a_manifest_names_it_only_where_there_is_one() -> None:
    """So that caches without augmentation keep their bytes and names."""
    plain, augmented = make_manifest(), make_manifest(augment="erasing=0.25")
    assert "augment" not in unseal(manifest_json(plain))
    assert parse_manifest(manifest_json(augmented), "here") == augmented
    assert augmented.view_policy.augmentation == Augmentation(erasing=0.25)
    assert cache_id(plain) != cache_id(augmented)
    with pytest.raises(InputError, match="was made with augment null and this run asks for"):
        require_same(augmented, plain, "here")


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"augment": "erasing=.25"}, "augment must be written as erasing=0.25: got 'erasing=.25'"),
        ({"augment": "blur=1"}, "augment has no part 'blur'"),
        ({"policy": "center"}, "augment must not be given with the policy center"),
    ],
)
def test_a_forged_manifest_is_refused(changes: dict[str, str], part: str) -> None:
    facts = unseal(manifest_json(make_manifest(augment="erasing=0.25")))
    with pytest.raises(InputError) as caught:
        parse_manifest(seal({**facts, **changes}), "here")
    assert part in str(caught.value)


def test_a_policy_mixes_only_by_mixup_and_cutmix() -> None:
    policy = make_manifest().view_policy
    assert not policy.mixes
    for text, mixes in (
        ("randaugment=2x9,erasing=1", False),
        ("mixup=1", True),
        ("cutmix=1", True),
    ):
        assert replace(policy, augmentation=parse_augmentation(text)).mixes == mixes
