"""A command of this project under limits of the system.

    python tests/limited.py LIMITS precompute/run.py --split train ...

LIMITS is JSON: {"AS": bytes beyond what the process has now, "NOFILE": files beyond those that are
open now, "FSIZE": bytes, "NPROC": processes beyond those of the user}.
"""

import json
import os
import resource
import runpy
import sys
from pathlib import Path


def main() -> None:
    limits = json.loads(sys.argv[1])
    del sys.argv[:2]
    for name, more in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        limit = min(more + now(name), sys.maxsize)
        resource.setrlimit(kind, (limit, resource.getrlimit(kind)[1]))
    runpy.run_path(sys.argv[0], run_name="__main__")


def now(name: str) -> int:
    if name == "AS":
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    if name == "NOFILE":
        return max(map(int, os.listdir("/proc/self/fd")))
    if name == "NPROC":
        tasks = Path("/proc").glob("[0-9]*/task/*")
        return sum(1 for task in tasks if task.stat().st_uid == os.getuid())
    return 0


if __name__ == "__main__":
    main()
