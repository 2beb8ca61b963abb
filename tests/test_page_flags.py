"""Every flag that README.md and docs/*.md name is one that a command has."""

import re

import pytest

from tests.all_flags import HELPS
from tests.pages import NAMES, text_of

OURS = {flag for flags in HELPS.values() for flag in flags} | {"--help"}
# Of torchrun, SLURM, Docker and pip, and of scripts in tests/bench
OTHERS = {
    *("--nproc-per-node", "--nnodes", "--rdzv-backend", "--rdzv-endpoint", "--dependency"),
    *("--build-arg", "--gpus", "--shm-size", "--rm"),
    *("--arms", "--part", "--work", "--per-class", "--recipes", "--seeds"),
}
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


@pytest.mark.parametrize("name", NAMES)
def test_flags_exist(name: str) -> None:
    unknown = set(FLAG.findall(text_of(name))) - OURS - OTHERS
    assert not unknown


def test_the_pages_name_most_flags() -> None:
    named = {flag for name in NAMES for flag in FLAG.findall(text_of(name))}
    assert len(named & OURS) >= 40
