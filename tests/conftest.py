"""Fixtures that several test files share; the functions that make them are in helpers.py."""

from pathlib import Path

import pytest

from tests.helpers import write_image_folder


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ImageFolder root, 3 classes, 4 train and 3 val images each; read only, please."""
    root = tmp_path_factory.mktemp("image_folder")
    write_image_folder(root, classes=3, train=4, val=3)
    return root
