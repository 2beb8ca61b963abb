"""Fixtures that several test files share; the functions that make them are in helpers.py."""

import signal
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from tests.helpers import write_image_folder
from tests.layers import layered
from tests.s3 import new_driver, proxy, s3, server, session_proxy

# Fixtures that a file here makes known to all tests.
__all__ = ["image_folder", "layered", "new_driver", "proxy", "s3", "server", "session_proxy"]

# As the commands that the tests start: two test files run at a time, and on networks as small as
# these a second thread is only in the way.
torch.set_num_threads(1)

# How long an example takes says how busy the machine is.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

# Whoever starts the tests may ignore signals (nohup, `&` in a script), and processes that the tests
# start and signal would inherit that.
for number, default in (
    (signal.SIGHUP, signal.SIG_DFL),
    (signal.SIGTERM, signal.SIG_DFL),
    (signal.SIGINT, signal.default_int_handler),
):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, default)


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ImageFolder root, 3 classes, 4 train and 3 val images each; read only, please."""
    root = tmp_path_factory.mktemp("image_folder")
    write_image_folder(root, classes=3, train=4, val=3)
    return root
