"""The promise of the whole: training from the cache is training with the live eval-mode teacher.

Codec `exact`: bit for bit, losses, gradients and weights (CPU, float32). Codec `half`: within what
its stated bound allows, propagated through each formula.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from shared.distributed import World
from shared.epochs.cached_views import CachedViews
from shared.epochs.whole_batch import live_batch
from shared.images.source import ImageSource, open_source
from shared.loaders.pixel_loader import Draw, PixelLoader, Replay, Request
from shared.store.checks import require_pixels
from shared.store.live_teacher import cached_teacher
from shared.store.opening import Cache, open_cache
from shared.targets.arrays import relative_to_maximum
from shared.targets.bounds import error_bound
from shared.targets.codecs import CODECS
from shared.targets.targets import Targets
from shared.targets.teacher import Teacher
from tests.helpers import run, run_precompute, run_train, write_image_folder, write_teacher
from tests.said import stages_of
from tests.whole_views import whole_views
from train.batch import NOTHING, Batch, Fixed
from train.flags import make_parser
from train.loss_recipes import LOSSES
from train.names import DEFAULT_RECIPE
from train.recipe import Recipe
from train.recipes import RECIPES, get_recipe
from train.setup import Setup, make_setup
from train.step import train_step
from train.student import StudentChoice, build_student

CPU = torch.device("cpu")
CLASSES = 5
TESTED = [recipe for recipe in RECIPES if not recipe.name.startswith("digits")]
KINDS = sorted({"logits", "channels"}.union(*(recipe.kinds for recipe in TESTED)))


@dataclass(frozen=True)
class Made:
    source: ImageSource
    caches: dict[str, Cache]
    teacher: Teacher
    folder: Path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("world")
    write_image_folder(folder / "images", classes=CLASSES, train=8, val=2)
    write_teacher(folder / "teacher.pt", "resnet34", CLASSES)
    for codec in CODECS:
        run_precompute(
            *("--images", folder / "images", "--weights", folder / "teacher.pt"),
            *("--cache", folder / codec, "--codec", codec),
            # Batches of 7, so that the live batches never have the company that the cached had.
            *("--views", 3, "--size", 32, "--block", 16, "--batch-size", 7),
            *(("--targets", ",".join(KINDS)) if codec == "exact" else ()),
        )
    run("precompute/classes.py", "--cache", folder / "exact")
    caches = {codec: open_cache(folder / codec, "train") for codec in CODECS}
    source = open_source(str(folder / "images"), "train")
    teacher = cached_teacher(caches["exact"].manifest, None, CPU)
    return Made(source, caches, teacher, folder)


def made(world: Made, codec: str, recipe: Recipe) -> Setup:
    """The run as the command would make it: student, parts, what the losses need of the teacher."""
    words = ["--cache", str(world.folder / codec), "--recipe", recipe.name, "--seed", "1"]
    return make_setup(
        make_parser().parse_args([*words, "--student", "resnet18", "--device", "cpu"])
    )


def batches(
    world: Made, codec: str, recipe: Recipe, mine: Fixed = NOTHING, theirs: Fixed = NOTHING
) -> Iterator[tuple[Tensor, Batch, Batch]]:
    """(pixels, cached batch, live batch) of the same samples, some batches of two views. `mine` and
    `theirs` are for the cached and the live ones."""
    cache = world.caches[codec]
    labels = torch.from_numpy(world.source.labels)
    generator = torch.Generator().manual_seed(0)
    steps = {epoch: torch.randperm(len(labels), generator=generator)[:12] for epoch in (0, 4)}
    plans = whole_views(cache.manifest, lambda epoch: [steps.get(epoch, steps[0]).numpy()])
    views = CachedViews(cache, replace(recipe, epochs=5), labels, True, CPU, plans, with_index=True)
    loader = PixelLoader((world.source,), 32, workers=0, pin_memory=False)
    for epoch, index in steps.items():
        views.begin(epoch)
        rows = index.numpy()
        stored = Replay(cache.manifest.policy, *views.boxes(0, rows))
        request = Request(0, rows, stored)
        (batch,) = loader.batches([request])
        targets = world.teacher(batch.pixels, sorted(recipe.kinds)) if recipe.needs else None
        live = Batch.of(live_batch(targets, recipe, labels[index], World(), CPU), theirs)
        live = replace(live, index=index)
        yield batch.pixels, Batch.of(views.batch(0, index), mine), live
    views.close()


def step(setup: Setup, pixels: Tensor, batch: Batch) -> dict[str, Tensor]:
    """Losses, outputs' and parameters' gradients, and parameters after one step, by name."""
    recipe, student = setup.recipe, setup.student.train()
    weights = recipe.weights(recipe.epochs // 2)  # every term that needs a teacher has a weight
    assert all(weights[term.name] for term in recipe.terms if term.loss.needs)
    x = setup.normalisation(pixels)
    _, losses = train_step(student, setup.optimizer, recipe, weights, x, batch, "fp32")
    assert [*losses] == [*(term.name for term in recipe.terms), "total"]
    found = {f"loss {name}": loss.detach() for name, loss in losses.items()}
    for name, parameter in student.named_parameters():
        if not parameter.requires_grad:
            continue
        assert parameter.grad is not None
        found[f"gradient {name}"] = parameter.grad
        found[f"after {name}"] = parameter.detach()
    return found


def is_quick(recipe: Recipe) -> bool:
    """The recipes for CIFAR have the same losses, and a ResNet-152 for a teacher. Of the recipes of
    other losses, one of each kind: on logits, embeddings, maps; with a memory; of two networks."""
    some = ("dist", "wkd_l", "srrl", "crd", "kd++", "cat", "simkd")
    if recipe in LOSSES:
        return recipe.name.endswith(some) or recipe.name in ("resnet18.at", "resnet18.rkd_at")
    return not recipe.name.startswith("cifar.s_")


@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param(
            recipe,
            marks=() if is_quick(recipe) else pytest.mark.slow,
            id=recipe.name,
        )
        for recipe in TESTED
    ],
)
def test_exact_cache_gives_the_live_teachers_bits(world: Made, recipe: Recipe) -> None:
    """Two steps of each; a memory of CRD's belongs to one run."""
    ours, others = made(world, "exact", recipe), made(world, "exact", recipe)
    fixed = ours.targets.fixed, others.targets.fixed
    for pixels, cached, live in batches(world, "exact", recipe, *fixed):
        mine, theirs = step(ours, pixels, cached), step(others, pixels, live)
        assert mine.keys() == theirs.keys()
        for name, value in mine.items():
            assert torch.equal(value, theirs[name]), name


def test_a_wrong_view_changes_the_bits(world: Made) -> None:
    """Negative control: without it, the test above could pass on targets that never matter."""
    recipe = get_recipe(DEFAULT_RECIPE)
    (pixels, cached, _), (_, other, _) = batches(world, "exact", recipe)
    swapped = replace(other, labels=cached.labels)
    mine = step(made(world, "exact", recipe), pixels, cached)
    theirs = step(made(world, "exact", recipe), pixels, swapped)
    assert not torch.equal(mine["loss total"], theirs["loss total"])


def test_half_cache_stays_within_its_bound(world: Made) -> None:
    """Each loss moves by no more than the codec's bound allows when put through its formula."""
    recipe = next(r for r in RECIPES if {"gkd", "cd"} <= {t.name for t in r.terms})
    encoding = world.caches["half"].manifest.encoding
    widths = world.teacher.model.channels
    for pixels, cached, live in batches(world, "half", recipe):
        assert cached.targets is not None and live.targets is not None
        assert cached.guided is not None and live.guided is not None
        assert torch.equal(cached.guided, live.guided)
        bound = error_bound(encoding, live.targets, None)
        decoded, true = cached.targets, live.targets
        logits = relative_to_maximum(decoded["logits"]) - relative_to_maximum(true["logits"])
        assert (logits.abs() <= bound["logits"]).all()
        assert ((decoded["channels"] - true["channels"]).abs() <= bound["channels"]).all()
        mine = step(made(world, "half", recipe), pixels, cached)
        theirs = step(made(world, "half", recipe), pixels, live)
        student = student_outputs(world, recipe, pixels)
        for term, allowed_loss in {
            "cd": cd_bound(student[1], stages_of(true, widths), stages_of(bound, widths)),
            "gkd": kd_bound(student[0], live, bound),
        }.items():
            moved = (mine[f"loss {term}"] - theirs[f"loss {term}"]).abs().item()
            assert moved <= allowed_loss * 1.001 + 1e-6, term
            assert moved > 0 or allowed_loss < 1e-4, term


def student_outputs(
    world: Made, recipe: Recipe, pixels: Tensor
) -> tuple[Tensor, tuple[Tensor, ...]]:
    channels = world.teacher.model.channels
    student = build_student(
        StudentChoice("resnet18", recipe.stem, CLASSES), channels, seed=1
    ).train()
    outputs = student(world.teacher.normalisation(pixels))
    return outputs.logits.detach(), tuple(mean.detach() for mean in outputs.channels)


def cd_bound(
    student: tuple[Tensor, ...], teacher: tuple[Tensor, ...], bound: tuple[Tensor, ...]
) -> float:
    """|(s - t - e)^2 - (s - t)^2| <= 2 |s - t| |e| + e^2, mean over a stage, summed."""
    return sum(
        (2 * (s - t).abs() * e + e**2).double().mean().item()
        for s, t, e in zip(student, teacher, bound, strict=True)
    )


def kd_bound(student: Tensor, live: Batch, bound: Targets) -> float:
    """Logits off by e: log p by 2e, p by a factor of exp(2e); put into sum p (log p - log s)."""
    assert live.targets is not None and live.guided is not None
    rows = live.guided
    if not rows.any():
        return 0.0
    log_p = torch.log_softmax(live.targets["logits"][rows].double(), 1)
    log_s = torch.log_softmax(student[rows].double(), 1)
    e = bound["logits"][rows].double().amax(1)
    size = (log_p.exp() * (log_p.abs() + log_s.abs())).sum(1)
    allowed = torch.expm1(2 * e) * size + 2 * e * torch.exp(2 * e)
    assert math.isfinite(allowed.sum().item())
    return (allowed.sum() / rows.sum()).item()


def test_three_epochs_from_exact_cache_and_live_teacher_end_bit_equal(
    world: Made, tmp_path: Path
) -> None:
    """Through the command itself: connectors, momentum, BatchNorm and all."""
    states = {}
    for teacher in ("cached", "live"):
        run_train(
            *("--cache", world.folder / "exact", "--teacher", teacher, "--epochs", 3),
            *("--batch-size", 12, "--lr", 0.02, "--out", tmp_path / teacher),
        )
        states[teacher] = torch.load(tmp_path / teacher / "last.pt", weights_only=True)
    assert states["cached"]["epoch"] == 3
    for name, value in states["cached"]["student"].items():
        assert torch.equal(value, states["live"]["student"][name]), name


def test_cached_views_are_the_policys(world: Made) -> None:
    """The boxes in the cache are those that the policy draws, and replaying gives equal pixels."""
    cache = world.caches["exact"]
    stored = cache.read_view(2, ["box", "flip"])
    index = torch.arange(len(world.source)).numpy()
    loader = PixelLoader((world.source,), 32, workers=0, pin_memory=False)
    manifest = cache.manifest
    drawn, replayed = loader.batches(
        [
            Request(0, index, Draw(manifest.policy, manifest.seed, 2)),
            Request(0, index, Replay(manifest.policy, stored["box"], stored["flip"])),
        ]
    )
    assert torch.equal(drawn.pixels, replayed.pixels)
    assert (drawn.box.numpy() == stored["box"]).all()
    assert require_pixels(cache, world.source) == 2 * 2 * 2
