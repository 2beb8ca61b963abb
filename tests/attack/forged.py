"""Forged files of caches in both formats: whatever one file holds, reading ends in one line or is
right.

    python tests/attack/forged.py [ATTEMPTS]
"""

import random
import sys
import tempfile
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from shared.store.opening import FORMATS
from tests.attack.tally import Tally, attempts_wanted
from tests.forging import everything, make_small, problem, random_forgery

DEFAULT = 300


def main() -> int:
    tally = Tally("forged", attempts_wanted(DEFAULT))
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as temporary:
        folders = {store: Path(temporary) / store for store in FORMATS}
        for store, folder in folders.items():
            make_small(folder, store)
        expected = {store: everything(folder) for store, folder in folders.items()}
        for number in tally.numbers():
            store = rng.choice(list(FORMATS))
            root = folders[store] / "train"
            files = sorted(path for path in root.rglob("*") if path.is_file())
            json_files = [path for path in files if path.suffix == ".json"]
            path = rng.choice(json_files if rng.random() < 0.8 else files)
            whole = path.read_bytes()
            what, data = random_forgery(whole, str(path.relative_to(root)), rng)
            if data == whole:
                tally.miss()
                continue
            path.write_bytes(data)
            name = f"{number}: {store} {path.relative_to(root)}: {what}"
            tally.record(name, problem(folders[store], expected[store]))
            path.write_bytes(whole)
    return tally.finish()


if __name__ == "__main__":
    sys.exit(main())
