"""A command of this project that waits for the store a hundredth of the time.

python tests/impatient.py precompute/run.py --split train ...
"""

import runpy
import sys

from shared.files import drivers, retry

retry.FIRST_WAIT /= 100
drivers.SILENCE_SECONDS = 2

if __name__ == "__main__":
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")
