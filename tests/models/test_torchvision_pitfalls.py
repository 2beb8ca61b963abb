"""What goes wrong with torchvision's networks if all are treated like a ResNet."""

import copy

import pytest
import torch
from torch import nn

from shared.models.build import build_model
from shared.models.found_stages import output_shapes
from shared.models.hooked import HookedModel
from shared.models.staged import channel_means
from tests.models.made import CLASSES, images, input_of, made, output_of, refused, run_of


class ChannelsLast(nn.Module):
    """A stage of 16 channels, (B, H, W, C) like Swin's, and one of 8 as maps."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 16, 4, 4), Last())
        self.second = nn.Conv2d(16, 8, 2, 2)
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.second(self.first(x).permute(0, 3, 1, 2))
        return self.fc(x.mean((2, 3)))  # type: ignore[no-any-return]


class Last(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.permute(0, 2, 3, 1)


def test_as_many_channels_as_pixels_a_side_do_not_hide_the_layout() -> None:
    """Both layouts have one shape at 64 px, so the layout is that of another size."""
    network = ChannelsLast()
    model = HookedModel(network, ("first", "second"), "fc", output_shapes(network, 32)).eval()
    stages = model.run(images(64)).stages
    assert output_of(model, "first").shape == (3, 16, 16, 16)
    assert torch.equal(stages[0], output_of(model, "first").permute(0, 3, 1, 2))
    assert torch.equal(stages[1], output_of(model, "second"))


@pytest.mark.slow
@pytest.mark.parametrize("size", [64, 384])  # at 384 the first stage is 96 x 96 x 96
def test_swin_returns_its_maps_channels_last(size: int) -> None:
    model = made("swin_t", size)
    run = run_of(model, size)
    assert [(maps.shape[1], size // maps.shape[2]) for maps in run.stages] == [
        (96, 4), (192, 8), (384, 16), (768, 32),
    ]  # fmt: skip
    for name, maps in zip(("features.1", "features.3", "features.5"), run.stages, strict=False):
        assert torch.equal(maps, output_of(model, name, size).permute(0, 3, 1, 2))
    # Its last stage is found after the norm, which is what the head reads the mean of.
    assert torch.equal(run.stages[3], output_of(model, "norm", size).permute(0, 3, 1, 2))
    assert model.pooled and torch.equal(run.embedding, input_of(model, "head", size))


@pytest.mark.slow
def test_convnext_has_a_norm_between_its_last_stage_and_the_classifier() -> None:
    model = made("convnext_tiny")
    run = run_of(model)
    assert torch.equal(run.stages[-1], output_of(model, "features"))
    assert torch.equal(run.embedding, input_of(model, "classifier.2"))
    assert not model.pooled and model.linear_head is not None
    assert not torch.allclose(run.embedding, channel_means(run.stages[-1]), atol=1e-2)


@pytest.mark.slow
def test_the_maps_of_a_vit_have_no_class_token_and_no_norm() -> None:
    model = made("vit_b_32")
    assert model.channels == (768,) * 4
    run = run_of(model)
    for number, maps in zip((2, 5, 8, 11), run.stages, strict=True):
        tokens = output_of(model, f"encoder.layers.encoder_layer_{number}")
        assert torch.equal(maps.flatten(2).transpose(1, 2), tokens[:, 1:])
    assert torch.equal(run.embedding, output_of(model, "encoder.ln")[:, 0])
    assert not model.pooled and model.linear_head is not None


def test_mobilenets_have_a_layer_after_the_mean() -> None:
    model = made("mobilenet_v3_small")
    run = run_of(model)
    assert model.channels == (16, 24, 48, 576) and model.embedding_width == 1024
    assert torch.equal(run.embedding, input_of(model, "classifier.3"))
    assert not model.pooled and model.linear_head is not None


def test_the_dropout_before_the_classifier() -> None:
    """Eval: the embedding is what the linear layer reads. Train: other logits at every pass."""
    model = made("mobilenet_v3_small")
    x = images()
    with torch.no_grad():
        assert torch.equal(model(x), model(x))
        model.train()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        assert not torch.equal(model(x), model(x))


def test_a_classifier_before_the_mean_is_no_linear_head() -> None:
    model = made("squeezenet1_1")
    assert model.last_layer is None and model.linear_head is None
    run = run_of(model)
    assert torch.equal(run.embedding, channel_means(run.stages[-1])) and model.pooled


@pytest.mark.slow
def test_the_relu_after_a_densenets_last_stage_is_part_of_it() -> None:
    """It works in place, so the recorded stage is what the mean is taken of."""
    model = made("densenet121")
    run, output = run_of(model), output_of(model, "features")
    assert (output < 0).any() and torch.equal(run.stages[-1], output.relu())
    assert model.pooled and model.linear_head is not None


@pytest.mark.slow
def test_auxiliary_classifiers_are_left_out() -> None:
    for name, size in (("googlenet", 64), ("inception_v3", 96)):
        model = made(name, size)
        run_of(model, size)
        assert not any("aux" in entry.lower() for entry in model.network.state_dict())
        assert isinstance(model.train()(images(size)), torch.Tensor)


@pytest.mark.parametrize(
    ("name", "size", "why"),
    [
        ("vit_b_32", 100, "AssertionError: Input shape indivisible by patch size!"),
        pytest.param(
            *("alexnet", 32, "RuntimeError: Given input size: (256x1x1)"), marks=pytest.mark.slow
        ),
    ],
)
def test_a_size_that_a_network_does_not_take(name: str, size: int, why: str) -> None:
    text = refused(name, size)
    assert text.startswith(f"{name} fails on images of {size} x {size} pixels ({why}")
    assert text.endswith("): give the --size that it was made for")


def test_a_copy_records_its_own_stages() -> None:
    """As the average of a run does (train/average.py)."""
    model = build_model("mobilenet_v3_small", CLASSES, size=32).eval()
    other = copy.deepcopy(model)
    with torch.no_grad():
        for value in other.network.parameters():
            value.mul_(1.1)
        mine, theirs = model.run(images(32)), other.run(images(32))
        again = model.run(images(32))
    for stage, maps in enumerate(theirs.stages):
        assert not torch.equal(maps, mine.stages[stage])
        assert torch.equal(again.stages[stage], mine.stages[stage])
    assert not model._seen and not other._seen  # type: ignore[operator]  # nothing is kept alive
