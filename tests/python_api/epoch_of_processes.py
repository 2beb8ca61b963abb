"""One process of a user's own loop, as torchrun starts it; for the test beside this.

    torchrun ... tests/python_api/epoch_of_processes.py CACHE OUT

OUT/RANK.pt gets the steps of two epochs, the second from its step 2 on.
"""

import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import torch
from torch import distributed

from shared.cache import TeacherCache


def main() -> None:
    location, out = sys.argv[1:]
    distributed.init_process_group("gloo")
    found = []
    with TeacherCache(location) as cache:
        for epoch, start in ((0, 0), (1, 2)):
            loader = cache.loader(epoch=epoch, start=start, batch_size=8)
            for step, (_, labels, targets) in enumerate(loader, start):
                found.append((epoch, step, targets.index, labels, targets["logits"]))
    torch.save(found, Path(out) / f"{distributed.get_rank()}.pt")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
