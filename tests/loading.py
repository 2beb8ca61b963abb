"""What tests ask loaders for: a size, samples by number, the train and val images of a folder."""

from pathlib import Path

import numpy as np
import pytest

from shared.images.source import ImageSource, open_source

SIZE = 16


def indices(*samples: int) -> np.ndarray:
    return np.array(samples, dtype=np.int64)


@pytest.fixture(scope="module")
def train(image_folder: Path) -> ImageSource:
    return open_source(str(image_folder), "train")


@pytest.fixture(scope="module")
def val(image_folder: Path) -> ImageSource:
    return open_source(str(image_folder), "val")
