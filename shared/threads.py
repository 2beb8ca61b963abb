"""How the threads of torch's OpenMP wait and how many there are, before torch is imported.

OpenMP reads the environment once, when its library is loaded with torch.
"""

import os
import sys


def set_thread_environment() -> None:
    """Makes idle threads sleep, and divides the cores among the processes of a machine.

    By default an idle thread spins on its core for some milliseconds, waiting for more work. Where
    processes share cores, each then waits for the other's idle threads: decoding a batch took 12 ms
    instead of 0.5. What the user has set is left alone, and so are processes that have imported
    torch already. torchrun gives each of several processes one thread.
    """
    if "torch" in sys.modules:
        return
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    processes = os.environ.get("LOCAL_WORLD_SIZE", "1")
    if processes.isdecimal() and int(processes) > 1 and hasattr(os, "sched_getaffinity"):
        threads = len(os.sched_getaffinity(0)) // int(processes)
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, threads)))
