"""A few optimizer steps of one process, with BatchNorm frozen; for tests/test_distributed.py.

    python tests/frozen_steps.py FILE FLAGS-OF-TRAIN...

BatchNorm sees one process's part of a batch, so with it two processes cannot equal one. FILE gets
the global losses of each step and the parameters after the last.
"""

import argparse
import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch

from shared.distributed import disconnect, parallel, sum_over
from train.flags import add_flags
from train.input import open_input
from train.setup import make_setup
from train.step import train_step


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    add_flags(parser)
    flags = parser.parse_args()
    setup = make_setup(flags)
    world, recipe = setup.world, setup.recipe
    setup.student.eval()
    network = parallel(setup.student, world, setup.device)
    network.eval()
    feed = open_input(setup)
    losses, samples = [], []
    for epoch in range(recipe.epochs):
        weights = recipe.weights(epoch)
        for pixels, batch in feed.batches(epoch):
            x = setup.normalisation(pixels)
            _, parts = train_step(network, setup.optimizer, recipe, weights, x, batch, "fp32")
            losses.append(sum_over(torch.stack([*parts.values()]).detach(), world) / world.size)
            samples.append(sum_over(torch.tensor([len(pixels)]), world))
    if world.is_first:
        state = {"losses": torch.stack(losses), "samples": torch.cat(samples)}
        torch.save({**state, "parameters": dict(setup.student.named_parameters())}, flags.file)
    feed.close()
    disconnect(world)


if __name__ == "__main__":
    main()
