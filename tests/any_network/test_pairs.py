"""Teachers and students of different libraries, through the commands from end to end."""

from pathlib import Path

import pytest

from tests.any_network.pairs import Pair, apart, precompute, require_evaluated, train_both_ways
from tests.runs import metrics
from tests.stores import every_format

pytest.importorskip("timm")

CIFAR = Pair("tests/own_networks/akamaster.py:resnet20", "cifar_resnet20", 32)
PAIRS = [
    Pair("timm/convnext_tiny", "timm/mobilenetv3_small_100", 64),
    Pair("timm/vit_tiny_patch16_224", "resnet18", 64),
    Pair("resnet50", "timm/resnet18", 64),
    Pair("cifar_resnet56", "cifar_resnet20", 32),
]


def test_an_own_teacher(image_folder: Path, tmp_path: Path) -> None:
    cache, _ = precompute(CIFAR, image_folder, tmp_path, "--codec", "exact")
    train_both_ways(CIFAR, image_folder, tmp_path)
    assert cache.manifest.teacher.channels == (16, 32, 64)
    assert apart(tmp_path) == 0
    require_evaluated(CIFAR, image_folder, tmp_path)


@pytest.mark.slow
@every_format
@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair.teacher} {pair.student}")
def test_trained_from_the_cache_as_with_the_live_teacher(
    pair: Pair, store: str, image_folder: Path, tmp_path: Path
) -> None:
    cache, _ = precompute(pair, image_folder, tmp_path, "--codec", "exact", "--format", store)
    train_both_ways(pair, image_folder, tmp_path)
    assert cache.manifest.teacher.rows == "exact"
    assert apart(tmp_path) == 0
    require_evaluated(pair, image_folder, tmp_path)


@pytest.mark.slow
@every_format
def test_logits_derived_from_the_embedding(store: str, image_folder: Path, tmp_path: Path) -> None:
    """The embedding of a ConvNeXt is not the mean of its last stage, and is kept for that."""
    pair = PAIRS[0]
    flags = ("--codec", "compact", "--format", store)
    cache, made = precompute(pair, image_folder, tmp_path, *flags)
    assert "embedding of 768 numbers, from which the logits follow" in made.stdout
    assert cache.manifest.encoding.derives_logits and "embedding" in cache.manifest.added
    train_both_ways(pair, image_folder, tmp_path)
    cached, live = (metrics(tmp_path / name)[0]["loss"] for name in ("cached", "live"))
    assert cached == pytest.approx(live, rel=2e-3) and cached != live
    require_evaluated(pair, image_folder, tmp_path)


@pytest.mark.slow
@every_format
def test_stages_that_are_named(store: str, image_folder: Path, tmp_path: Path) -> None:
    """12 blocks of a ViT as the teacher's stages, three of which meet the student's."""
    pair = Pair("timm/vit_tiny_patch16_224", "resnet18", 64)
    blocks = ",".join(map(str, range(12)))
    flags = ("--codec", "exact", "--format", store, "--stage-modules", blocks)
    cache, made = precompute(pair, image_folder, tmp_path, *flags)
    assert cache.manifest.teacher.channels == (192,) * 12
    assert "output 11 (192)" in made.stdout
    train_both_ways(pair, image_folder, tmp_path, "--stages", "4:2,8:3,12:4")
    assert apart(tmp_path) == 0
    require_evaluated(pair, image_folder, tmp_path)
