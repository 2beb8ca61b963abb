"""A command of this project where a package is not installed.

python tests/logs/without.py wandb train/run.py --cache data/teacher_cache --log wandb
"""

import runpy
import sys

if __name__ == "__main__":
    sys.modules[sys.argv[1]] = None  # type: ignore[assignment]  # for Python: it cannot be imported
    del sys.argv[:2]
    runpy.run_path(sys.argv[0], run_name="__main__")
