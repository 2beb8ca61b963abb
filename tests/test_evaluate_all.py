"""Several models on the same val batches: equal numbers, one shape, no waiting for the device."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounter
from torch.utils._python_dispatch import TorchDispatchMode

from shared.epochs.val_batches import Labelled
from shared.models.build import build_model
from shared.models.staged import StagedModel
from shared.pixels.normalise import NORMALISATIONS
from shared.pixels.view import new_batch
from train.accuracy import evaluate, evaluate_all, padded
from train.average import WeightAverage

CPU, PLAIN = torch.device("cpu"), NORMALISATIONS["imagenet"]
SIZES = (4, 4, 3, 1)


def batches(sizes: tuple[int, ...] = SIZES) -> Iterator[Labelled]:
    """Noise; every fifth image does not decode."""
    generator = torch.Generator().manual_seed(0)
    for size in sizes:
        pixels = new_batch(size, 8)
        pixels[:] = torch.randint(0, 256, pixels.shape, generator=generator, dtype=torch.uint8)
        labels = torch.randint(0, 7, (size,), generator=generator)
        labels[torch.arange(size) % 5 == 3] = -1
        yield Labelled(pixels, labels)


def models() -> list[StagedModel]:
    made = []
    for seed in range(2):
        torch.manual_seed(seed)
        made.append(build_model("cifar_resnet20", 7))
    return made


@pytest.mark.parametrize("rows", [0, 4, 9])
def test_each_model_gets_what_it_gets_alone(rows: int) -> None:
    """Also where batches are padded: black images count as nothing."""
    both = models()
    both[1].eval()
    alone = [evaluate(model, batches(), PLAIN, CPU) for model in both]
    assert alone[0].top1 != alone[1].top1 and alone[0].samples == 12
    assert alone[0].undecodable == 2
    for mine, own in zip(evaluate_all(both, batches(), PLAIN, CPU, rows=rows), alone, strict=True):
        # a convolution of another batch size may round differently
        assert mine.cross_entropy == pytest.approx(own.cross_entropy, rel=1e-6)
        assert replace(mine, cross_entropy=None) == replace(own, cross_entropy=None)
    assert [model.training for model in both] == [True, False]


def test_images_reach_all_models_in_one_shape_with_channels_last() -> None:
    seen: list[tuple[Any, ...]] = []

    def note(module: StagedModel, inputs: tuple[Tensor, ...]) -> None:
        (x,) = inputs
        seen.append((tuple(x.shape), x.is_contiguous(memory_format=torch.channels_last), id(x)))

    both = models()
    for model in both:
        model.register_forward_pre_hook(note)
    evaluate_all(both, batches(), PLAIN, CPU, rows=4)
    assert {shape for shape, _, _ in seen} == {(4, 3, 8, 8)}
    assert all(is_last for _, is_last, _ in seen) and len(seen) == 2 * len(SIZES)
    assert [each for *_, each in seen[::2]] == [each for *_, each in seen[1::2]], "made once"


def test_padding_keeps_the_images() -> None:
    (pixels, _), *_ = batches()
    assert padded(pixels, 3) is pixels
    more = padded(pixels, 6)
    assert torch.equal(more[:4], pixels) and more.shape[0] == 6 and not more[4:].any()
    assert more.stride() == new_batch(6, 8).stride()


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_averaged_weights_lie_as_the_students_do(layout: torch.memory_format) -> None:
    model = build_model("cifar_resnet20", 7)
    model.to(memory_format=layout)  # type: ignore[call-overload]
    average = WeightAverage(model, 0.9)
    average.update(model)
    average.load_state_dict(dict(build_model("cifar_resnet20", 7).state_dict()))
    average.update(model)
    mine, theirs = average.module.state_dict(), model.state_dict()
    assert all(mine[name].stride() == theirs[name].stride() for name in theirs)


class Reads(TorchDispatchMode):
    """Counts numbers that are read from tensors, for which the host would wait on a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Any = (), named: Any = None
    ) -> Any:
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*arguments, **(named or {}))


def test_the_host_reads_nothing_between_batches() -> None:
    """As many reads for three batches as for nine; a read at each batch would show."""
    counts = []
    for number, read in ((1, False), (3, False), (1, True), (3, True)):
        model = models()[0].eval()
        if read:
            model.register_forward_hook(lambda module, inputs, logits: bool(logits[0, 0]) and None)
        with Reads() as reads:
            evaluate(model, batches((4, 3, 4) * number), PLAIN, CPU)
        counts.append(reads.count)
    assert counts[1] == counts[0] and counts[3] - counts[2] == 6


@pytest.mark.parametrize(("rows", "compiled"), [(4, 1), pytest.param(0, 2, marks=pytest.mark.slow)])
def test_a_compiled_model_is_used_and_meets_one_shape(rows: int, compiled: int) -> None:
    """Without padding, the last batches would have it compiled again, for any shape."""
    torch._dynamo.reset()
    both = models()
    counters = [CompileCounter() for _ in both]
    expected = evaluate_all(both, batches((4, 4, 3)), PLAIN, CPU)
    for model, counter in zip(both, counters, strict=True):
        model.compile(backend=counter)
    for _ in range(3):  # epochs
        found = evaluate_all(both, batches((4, 4, 3)), PLAIN, CPU, rows=rows)
        assert found == expected
        for model in both:  # what a training step changes between two evaluations
            model.train()
    assert [counter.frame_count for counter in counters] == [compiled] * 2
