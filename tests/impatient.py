"""A command of this project that waits for the store a hundredth of the time.

python tests/impatient.py precompute/run.py --split train ...
"""

import runpy
import sys

from shared.files import objects as object_files
from shared.files import retry

retry.FIRST_WAIT /= 100
object_files.SILENCE_SECONDS = 2

if __name__ == "__main__":
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")
