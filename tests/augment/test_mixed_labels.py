"""A mixed view has two labels: CE weighs them, in whole and in split batches, from both formats."""

import argparse
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from shared.errors import InputError
from shared.images.source import open_source
from shared.pixels.mix import draw_mix
from shared.store.opening import open_cache
from tests.augment.conftest import CLASSES, KD, SAMPLES, SIZE, Made
from train.batch import Batch, Fixed, StudentOutputs
from train.flags import make_parser
from train.input import open_input
from train.losses import CE
from train.losses.loss import Loss
from train.memory import Memory
from train.recipe import Recipe, Term
from train.recipes import get_recipe
from train.run_augmentation import augmentation_of
from train.schedule import Constant
from train.setup import make_setup
from train.sums import step_sums

OWN, OTHER = torch.tensor([0, 1, 2, 3]), torch.tensor([0, 2, 4, 0])
SHARE = torch.tensor([1.0, 0.75, 0.25, 0.0])
PLAIN = Batch(OWN, None, None, 4.0, 0.0)
MIXED = replace(PLAIN, partner=OTHER, share=SHARE)


def logits() -> Tensor:
    return torch.randn(4, CLASSES, generator=torch.Generator().manual_seed(0))


def test_ce_is_that_of_the_mixed_distribution() -> None:
    said = logits().double()
    mixture = SHARE[:, None] * one_hot(OWN, CLASSES) + (1 - SHARE)[:, None] * one_hot(
        OTHER, CLASSES
    )
    expected = cross_entropy(said, mixture.double())
    assert CE()(StudentOutputs(said, ()), MIXED).item() == pytest.approx(expected.item(), rel=1e-6)
    plain = CE()(StudentOutputs(said, ()), PLAIN).item()
    assert plain == pytest.approx(cross_entropy(said, OWN).item(), rel=1e-6)
    assert abs(plain - expected.item()) > 0.01


def test_pieces_of_a_batch_add_up() -> None:
    said = logits()
    whole = CE()(StudentOutputs(said, ()), MIXED)
    pieces = MIXED.split(3)
    assert [len(piece.labels) for piece in pieces] == [2, 1, 1]
    rows = said.split([2, 1, 1])
    parts = [CE()(StudentOutputs(r, ()), piece) for r, piece in zip(rows, pieces, strict=True)]
    assert sum(part.item() for part in parts) == pytest.approx(whole.item(), rel=1e-6)


def test_top_1_counts_the_label_of_the_larger_weight() -> None:
    assert PLAIN.main_labels is OWN
    assert MIXED.main_labels.tolist() == [0, 1, 4, 0]
    recipe = replace(get_recipe("resnet18.ce"), terms=())
    said = one_hot(torch.tensor([0, 1, 4, 3]), CLASSES).float()
    assert step_sums(recipe, MIXED, said, {})[0].item() == 3


@pytest.mark.parametrize(
    "store",
    ["zarr", pytest.param("webdataset", marks=pytest.mark.slow)],
)
def test_batches_of_a_run_have_the_labels_that_were_drawn(made: Made, store: str) -> None:
    """In every epoch, for a cached and a live teacher, those of the epoch's view."""
    source = open_source(str(made.images), "train")
    cache = open_cache(made.cache(store), "train")
    how = cache.manifest.view_policy.augmentation
    assert how is not None
    mixes = 0
    for teacher in ("cached", "live"):
        setup = make_setup(flags_of(made, store, teacher))
        # Batches have the samples' index only for a memory.
        fixed = Fixed(memory=Memory(SAMPLES, 2, 0, setup.device))
        feed = open_input(replace(setup, targets=replace(setup.targets, fixed=fixed)))
        for epoch in range(3):
            seen = []
            for _, batch in feed.batches(epoch):
                assert batch.index is not None
                assert batch.partner is not None and batch.share is not None
                seen += batch.index.tolist()
                for row, index in enumerate(batch.index.tolist()):
                    mix = draw_mix(how, 0, epoch % 2, index, SAMPLES, SIZE)
                    partner, share = (index, 1.0) if mix is None else (mix.partner, mix.share)
                    assert batch.labels[row] == source.labels[index]
                    assert batch.partner[row] == source.labels[partner]
                    assert batch.share[row] == torch.tensor(share)
                    mixes += mix is not None
            assert sorted(seen) == list(range(SAMPLES))
        feed.close()
    assert mixes > SAMPLES


def flags_of(made: Made, store: str, teacher: str) -> argparse.Namespace:
    text = f"--cache {made.cache(store)} --images {made.images} --student cifar_resnet20"
    more = f"--recipe {KD} --batch-size 6 --workers 0 --device cpu --teacher {teacher}"
    return make_parser().parse_args([*text.split(), *more.split()])


@dataclass(frozen=True)
class Hard(Loss):
    hard_labels: ClassVar[bool] = True

    def __call__(self, student: StudentOutputs, batch: Batch) -> Tensor:
        return student.logits.sum()


def with_terms(*losses: Loss, augment: str | None) -> Recipe:
    terms = tuple(Term(type(loss).__name__, loss, Constant(1.0)) for loss in losses)
    return replace(get_recipe("resnet18.ce"), terms=terms, augment=augment)


def test_losses_of_hard_labels_refuse_mixed_views() -> None:
    assert augmentation_of(with_terms(CE(), Hard(), augment=None), None) is None
    assert str(augmentation_of(with_terms(Hard(), augment="erasing=1"), None)) == "erasing=1"
    assert str(augmentation_of(with_terms(CE(), augment="mixup=1"), None)) == "mixup=1"
    with pytest.raises(InputError) as caught:
        augmentation_of(with_terms(CE(), Hard(), augment="erasing=1,cutmix=1"), None)
    assert str(caught.value) == (
        "recipe resnet18.ce cannot be used with the mixed views of recipe resnet18.ce "
        "(erasing=1,cutmix=1): its term Hard reads one label for each image, and a mixed view has "
        "two; choose another recipe, or views without mixup and cutmix"
    )


def test_a_recipe_that_augments_needs_such_a_cache(made: Made) -> None:
    cache = open_cache(made.cache("zarr"), "train")
    with pytest.raises(
        InputError, match=r"make a cache with precompute/run\.py --augment erasing=1"
    ):
        augmentation_of(with_terms(CE(), augment="erasing=1"), cache)
    with pytest.raises(InputError, match=r"augment of recipe resnet18\.ce has no part 'blur'"):
        augmentation_of(with_terms(CE(), augment="blur=1"), None)
