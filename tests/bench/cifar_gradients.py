"""Do the terms of a recipe pull a student in one direction? Norms and cosines of their gradients.

    python tests/bench/cifar_gradients.py --cache runs/cifar/cache --out RUN [--recipe NAME]

RUN is a folder that cifar.py trained. On one batch, for the student at its start and as RUN's
last.pt has it: the norm of each weighted term's gradient in the backbone (what the terms share:
neither connectors nor classifier), and its cosine with the gradient of CE.
"""

import argparse
import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[2])

import torch
from torch import Tensor

from train.flags import add_flags
from train.input import open_input
from train.setup import Setup, make_setup


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_flags(parser)
    parser.set_defaults(recipe="s_resnet18.t_resnet34.cd.ce", device="cpu", batch_size=512)
    flags = parser.parse_args()
    setup = make_setup(flags)
    print("| student | term | gradient norm | cosine with CE's |\n|---|---|---:|---:|")
    show("at its start", setup)
    saved = torch.load(flags.out / "last.pt", map_location="cpu", weights_only=True)
    setup.student.load_state_dict(saved["student"])
    show(f"after {saved['epoch']} epochs", setup)


def show(name: str, setup: Setup) -> None:
    feed = open_input(setup)
    pixels, batch = next(feed.batches(0))
    student = setup.student.train()
    shared = [p for n, p in student.backbone.named_parameters() if not n.startswith("fc.")]
    outputs = student(setup.normalisation(pixels))
    gradients: dict[str, Tensor] = {}
    for term in setup.recipe.terms:
        loss = term.weight(setup.recipe.epochs - 1) * term.loss(outputs, batch)
        parts = torch.autograd.grad(loss, shared, retain_graph=True)
        gradients[term.name] = torch.cat([part.flatten() for part in parts]).double()
    for term_name, gradient in gradients.items():
        cosine = torch.cosine_similarity(gradient, gradients["ce"], dim=0)
        print(f"| {name} | {term_name} | {gradient.norm():.3f} | {cosine:.3f} |")
    feed.close()


if __name__ == "__main__":
    main()
