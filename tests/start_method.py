"""A command of this project whose workers start otherwise, as on macOS or with a newer Python.

python tests/start_method.py spawn|forkserver train/run.py --cache data/teacher_cache ...
"""

import multiprocessing
import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    del sys.argv[:2]
    # Absolute: workers of spawn start from the main module's file.
    runpy.run_path(str(Path(sys.argv[0]).absolute()), run_name="__main__")
