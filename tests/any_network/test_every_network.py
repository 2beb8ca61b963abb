"""Each network of the table as teacher and as student: its cache holds what the library's own
network says, verify finds no error, and a training step from the cache is the live teacher's, bit
for bit.

The functions behind the commands run in this process.
"""

import argparse
import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import precompute.flags
import precompute.verify
import train.flags
from precompute.integrity import verify
from precompute.make import make
from shared.images.source import open_source
from shared.store.opening import Cache, open_cache
from shared.store.stored_views import stored_views
from tests.any_network.cases import CASES, Case
from tests.any_network.plain_network import outputs_of, plain
from tests.runs import require_equal
from tests.said import stages_of
from train.input import open_input
from train.randomness import seed_step
from train.setup import make_setup
from train.step import train_step

IMAGES = 10
# A cache's batches have 7 images, verify's 10 and a step's 5: no image meets the same others twice.
PRECOMPUTE = (
    *("--split", "train", "--images", "digits", "--limit", IMAGES, "--views", 1, "--workers", 0),
    *("--policy", "random-resized-crop", "--codec", "exact", "--batch-size", 7),
)
TRAIN = (
    *("--recipe", "s_resnet18.t_resnet34.cd.kd.lrdv2", "--batch-size", 5, "--workers", 0),
    *("--lr", 0.01),
)
LATE = 50  # an epoch in which every loss of this recipe has a weight


def parsed(parser: argparse.ArgumentParser, *flags: object) -> argparse.Namespace:
    return parser.parse_args([str(flag) for flag in flags])


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            case,
            marks=() if case.fast else pytest.mark.slow,
            id=f"{Path(case.name).name}: {case.special}",
        )
        for case in CASES
    ],
)
def test_its_cache_is_its_live_self(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if case.name.startswith("timm/"):
        pytest.importorskip("timm")
    network = plain(case)
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    parser = precompute.flags.make_parser("", ())
    parser.set_defaults(check=False)  # a flag of run.py alone
    make(
        parsed(
            parser,
            *(*PRECOMPUTE, "--teacher", case.name, "--weights", tmp_path / "weights.pt"),
            *("--size", case.size, "--cache", tmp_path / "cache", *case.flags),
        )
    )
    cache = open_cache(tmp_path / "cache", "train")
    require_library_says_so(cache, *outputs_of(network, case, pixels_in(cache)), case)
    del network
    require_verified(tmp_path / "cache", capsys)
    require_same_step(*(step(tmp_path, case, teacher) for teacher in ("cached", "live")), case)


def pixels_in(cache: Cache) -> Tensor:
    source = open_source("digits", "train", limit=IMAGES)
    return torch.stack([*stored_views(cache, 0, source, [*range(IMAGES)]).values()])


def require_library_says_so(cache: Cache, logits: Tensor, means: list[Tensor], case: Case) -> None:
    encoding = cache.manifest.encoding
    stored = cache.read_view(0, [*encoding.fields()])
    fields = {name: torch.from_numpy(np.asarray(values)) for name, values in stored.items()}
    targets = encoding.decode(fields, cache.head())
    assert cache.manifest.teacher.channels == tuple(part.shape[1] for part in means)
    require_close(targets["logits"], logits, "logits")
    parts = zip(stages_of(targets, cache.manifest.teacher.channels), means, strict=True)
    for stage, (mine, theirs) in enumerate(parts):
        require_close(mine, theirs, f"stage {stage}")


def require_close(mine: Tensor, theirs: Tensor, what: str) -> None:
    """To 1e-4 of the largest number, where images differ by much more."""
    scale = theirs.abs().max()
    assert theirs.std(0).max() > 1e-2 * scale, f"{what}: it tells no images apart"
    assert (mine - theirs).abs().max() <= 1e-4 * scale, what


def require_verified(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    code = verify(parsed(precompute.verify.make_parser(), "--cache", cache, "--samples", IMAGES))
    said = capsys.readouterr()
    assert (code, said.err) == (0, ""), said.err
    assert f"cached against live: {IMAGES} views, 0 of which" in said.out
    rows = re.findall(r"^\| (logits|channels.*?|stage.*?) \| (.*?) \| (.*?) \|", said.out, re.M)
    assert len(rows) >= 3, said.out
    assert all(float(worst) == float(relative) == 0 for _, worst, relative in rows), said.out


@dataclass(frozen=True)
class Step:
    before: dict[str, Tensor]
    after: dict[str, Tensor]
    losses: dict[str, float]


def step(folder: Path, case: Case, teacher: str) -> Step:
    """The first training step of a student of the same kind."""
    setup = make_setup(
        parsed(
            train.flags.make_parser(),
            *(*TRAIN, "--cache", folder / "cache", "--student", case.name, "--teacher", teacher),
            *("--out", folder / teacher, *case.flags),
        )
    )
    student = setup.student.train()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    feed = open_input(setup)
    pixels, batch = next(iter(feed.batches(0)))
    feed.close()
    seed_step(setup.seed, 0, 0, 0, setup.device)
    _, losses = train_step(
        *(student, setup.optimizer, setup.recipe, setup.recipe.weights(LATE)),
        *(setup.normalisation(pixels), batch, "fp32"),
    )
    return Step(before, student.state_dict(), {name: loss.item() for name, loss in losses.items()})


def require_same_step(cached: Step, live: Step, case: Case) -> None:
    assert [*cached.losses] == ["ce", "kd", "cd", "total"]
    assert all(math.isfinite(loss) and loss > 0 for loss in cached.losses.values())
    assert cached.losses == live.losses
    require_equal(cached.before, live.before)
    require_equal(cached.after, live.after)
    moved = [not torch.equal(cached.before[name], value) for name, value in cached.after.items()]
    assert sum(moved) > len(moved) / 2
