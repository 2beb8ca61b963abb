"""Commands let idle threads sleep: what OpenMP reads is set before torch is imported."""

import os
import subprocess
import sys

import pytest
import torch  # noqa: F401

from shared.threads import set_thread_environment
from tests.all_flags import HELPS
from tests.processes import ROOT

NAMES = ("OMP_WAIT_POLICY", "OMP_NUM_THREADS", "LOCAL_WORLD_SIZE")


def answer(code: str, script: str, **environment: str) -> str:
    """The last line that `code` prints in a fresh interpreter, as a shell without settings starts
    it; `script` is its first argument."""
    plain = {name: value for name, value in os.environ.items() if name not in NAMES}
    done = subprocess.run(
        [sys.executable, "-c", code, script],
        cwd=ROOT, env=plain | environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


# Runs a command up to the first import of torch, and prints what OpenMP would find then.
AT_IMPORT = """
import os, runpy, sys

class Stop:
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "numpy", "PIL"):
            print(os.environ.get("OMP_WAIT_POLICY"), os.environ.get("OMP_NUM_THREADS"), flush=True)
            os._exit(0)

sys.meta_path.insert(0, Stop())
sys.argv = sys.argv[1:] + %r
runpy.run_path(sys.argv[0], run_name="__main__")
"""
REQUIRED = {
    "precompute/run.py": ["--split", "train"],
    "precompute/plan.py": ["--split", "train"],
    "precompute/convert.py": ["--to", "x", "--codec", "tiny"],
    "precompute/pack.py": ["--to", "x", "--split", "train"],
    "train/eval.py": ["--checkpoint", "x"],
    "train/report.py": ["x"],
    "train/demo.py": ["x", "--teacher", "x"],
}


@pytest.mark.parametrize("script", HELPS)
def test_every_command_sets_it_before_torch_is_imported(script: str) -> None:
    code = AT_IMPORT % REQUIRED.get(script, [])
    assert answer(code, script) == "PASSIVE None"


def test_what_the_user_has_set_is_left_alone() -> None:
    code = AT_IMPORT % []
    given = {"OMP_WAIT_POLICY": "ACTIVE", "OMP_NUM_THREADS": "3", "LOCAL_WORLD_SIZE": "2"}
    assert answer(code, "train/run.py", **given) == "ACTIVE 3"


def test_processes_of_a_machine_share_its_cores() -> None:
    cores = len(os.sched_getaffinity(0))
    for processes, threads in (("1", "None"), ("2", max(1, cores // 2)), ("4000", 1)):
        found = answer(AT_IMPORT % [], "train/run.py", LOCAL_WORLD_SIZE=processes)
        assert found == f"PASSIVE {threads}"


@pytest.mark.slow
def test_openmp_reads_it() -> None:
    """libgomp prints its settings when it is loaded."""
    code = (
        "import sys; sys.path[0] = '.'\n"
        "from shared.threads import set_thread_environment; set_thread_environment()\n"
        "import os; os.dup2(1, 2); import torch"
    )
    plain = {name: value for name, value in os.environ.items() if name not in NAMES}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=plain | {"OMP_DISPLAY_ENV": "TRUE"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in done.stdout, done.stdout + done.stderr


def test_a_process_that_has_torch_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert "torch" in sys.modules, "as in every test"
    set_thread_environment()
    assert "OMP_WAIT_POLICY" not in os.environ
