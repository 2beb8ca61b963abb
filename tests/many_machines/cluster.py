"""A cluster of two machines, both this one: `srun` and `scontrol` for the scripts in docs/slurm.

`srun` runs its command once a machine, each in a folder of its own where nothing but the code is
shared, or in one folder that all share. torchrun and everything below it are real.
"""

import os
import socket
import subprocess
import sys
from pathlib import Path

from tests.processes import ROOT, Finished

SRUN = """#!/bin/bash
while [[ "$1" == --* ]]; do shift; done
for node in 0 1; do
    (cd "$NODES/$node" && exec "$@" > "$NODES/$node.out" 2> "$NODES/$node.err") &
    running+=($!)
done
failed=0
for pid in "${running[@]}"; do wait "$pid" || failed=$?; done
exit $failed
"""
SCONTROL = """#!/bin/bash
echo 127.0.0.1
echo 127.0.0.1
"""
CODE = ("precompute", "train", "shared", "docs", "tests")


def make_cluster(folder: Path, shared: bool) -> Path:
    """Two working folders, 0 and 1, with the code in them; one folder under two names if `shared`.
    Returns the folder that holds both."""
    tools, nodes = folder / "bin", folder / "nodes"
    tools.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    for node in ("0", "1"):
        if shared and node == "1":
            (nodes / node).symlink_to("0")
            continue
        (nodes / node).mkdir(parents=True)
        for name in CODE:
            (nodes / node / name).symlink_to(ROOT / name)
    return nodes


def submit(nodes: Path, script: str, *flags: object, processes: int = 2) -> Finished:
    """What `sbatch SCRIPT FLAGS` does: the output is that of the first machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    python = str(Path(sys.executable).parent)
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(nodes.parent / "bin"), python, os.environ["PATH"]]),
        "NODES": str(nodes),
        "PORT": str(port),
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NODELIST": "node[0-1]",
        "SLURM_NNODES": "2",
        "SLURM_GPUS_ON_NODE": str(processes),
        "SLURM_CPUS_PER_TASK": "0",
        "OMP_NUM_THREADS": "1",
    }
    words = ["bash", str(ROOT / "docs/slurm" / script), *map(str, flags)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=600)
    said, errors = (
        "".join((nodes / f"{node}.{kind}").read_text() for node in "01") for kind in ("out", "err")
    )
    return Finished(done.returncode, said, done.stderr + errors)
