"""docs/imagenette_classes.txt says what torchvision says of Imagenette and of ImageNet."""

from dataclasses import replace
from pathlib import Path

import pytest
from torchvision.datasets import Imagenette
from torchvision.models import ResNet34_Weights

from precompute.chosen_teacher import read_class_map
from shared.images.source import open_source
from shared.images.torchvision_sets import imagenette_classes
from tests.processes import ROOT

FILE = ROOT / "docs/imagenette_classes.txt"
FOLDERS = tuple(sorted(Imagenette._WNID_TO_CLASS))


@pytest.mark.parametrize("classes", [FOLDERS, tuple(imagenette_classes(FOLDERS))])
def test_both_names_of_a_class_have_its_number(classes: tuple[str, ...]) -> None:
    source = replace(open_source("digits", "val"), classes=classes)
    known = ResNet34_Weights.IMAGENET1K_V1.meta["categories"]
    named = [known[number] for number in read_class_map(Path(FILE), source)]
    assert named == imagenette_classes(FOLDERS)
