"""What goes wrong with timm's networks if all are treated like a ResNet."""

from pathlib import Path

import pytest
import torch

from shared.errors import InputError
from shared.models.build import build_model, measure
from shared.models.staged import channel_means
from shared.models.weights import load_weights, weights_digest
from shared.pixels.normalise import NORMALISATIONS
from shared.targets.teacher import Teacher
from tests.models.made import CLASSES, images, input_of, made, output_of, refused, run_of
from tests.networks import randomised, save

pytest.importorskip("timm")


@pytest.mark.slow
def test_swin_returns_its_maps_channels_last() -> None:
    model = made("timm/swin_tiny_patch4_window7_224")
    run = run_of(model)
    assert [tuple(maps.shape[1:]) for maps in run.stages] == [
        (96, 16, 16), (192, 8, 8), (384, 4, 4), (768, 2, 2),
    ]  # fmt: skip
    for stage, maps in enumerate(run.stages):
        output = output_of(model, f"layers.{stage}")
        assert torch.equal(maps, output.permute(0, 3, 1, 2))
    assert not model.pooled  # a norm stands between
    assert torch.equal(run.embedding, input_of(model, "head.fc"))


def test_convnext_has_a_norm_between_its_last_stage_and_the_classifier() -> None:
    model = made("timm/test_convnext")
    run = run_of(model)
    assert torch.equal(run.stages[-1], output_of(model, "stages.3"))
    assert torch.equal(run.embedding, input_of(model, "head.fc"))
    assert not torch.allclose(run.embedding, channel_means(run.stages[-1]), atol=1e-2)
    assert not model.pooled and model.signed and model.linear_head is not None


def test_the_maps_of_a_vit_have_no_class_token_and_no_norm() -> None:
    model = made("timm/test_vit")
    assert model.stage_modules == ("0", "2", "3", "5") and model.channels == (64,) * 4
    run = run_of(model)
    for number, maps in zip(model.stage_modules, run.stages, strict=True):
        tokens = output_of(model, f"blocks.{number}")
        assert tokens.shape == (3, 1 + 16, 64)
        assert torch.equal(maps.flatten(2).transpose(1, 2), tokens[:, 1:])
    assert torch.equal(run.embedding, output_of(model, "norm")[:, 0])  # the class token
    assert not model.pooled and model.linear_head is not None


@pytest.mark.parametrize(
    ("name", "last", "embedding"),
    [("timm/mobilenetv3_small_050", 288, 1024), ("timm/mobilenetv4_conv_small_035", 336, 1280)],
)
def test_mobilenets_have_a_convolution_after_the_mean(name: str, last: int, embedding: int) -> None:
    model = made(name)
    run = run_of(model)
    assert (model.channels[-1], model.embedding_width) == (last, embedding)
    assert torch.equal(run.embedding, input_of(model, "classifier"))
    head = model.linear_head
    assert head is not None and torch.equal(head(run.embedding), run.logits)


def test_a_head_with_a_norm_runs_once_a_pass() -> None:
    """Else its running statistics would move twice a step, unlike in timm's own training."""
    model = build_model("timm/mobilenetv4_conv_small_035", CLASSES, size=64).train()
    assert "norm_head.running_mean" in model.network.state_dict()
    model.run(images())
    counts = {
        name: int(value)
        for name, value in model.network.state_dict().items()
        if name.endswith("num_batches_tracked")
    }
    assert len(counts) > 20 and set(counts.values()) == {1}


def test_a_classifier_that_is_a_convolution_is_no_linear_head() -> None:
    model = made("timm/resnetv2_18")
    assert isinstance(model.network.get_submodule("head.fc"), torch.nn.Conv2d)
    assert model.last_layer is None and model.linear_head is None
    assert not model.pooled  # norm and ReLU come after the last stage
    assert run_of(model).embedding.shape == (3, 512)


@pytest.mark.parametrize(
    "name", ["timm/efficientvit_m0", pytest.param("timm/volo_d1_224", marks=pytest.mark.slow)]
)
def test_a_linear_classifier_that_does_not_give_the_logits_alone(name: str) -> None:
    """EfficientViT has BatchNorm before it, VOLO adds an auxiliary head."""
    model = made(name, 224)
    layer, run = model.last_layer, run_of(model, 224)
    assert layer is not None and model.linear_head is None
    assert not torch.allclose(layer(run.embedding), run.logits, atol=1e-2)


@pytest.mark.parametrize(
    "name",
    [
        "timm/levit_128s",
        pytest.param("timm/deit_tiny_distilled_patch16_224", marks=pytest.mark.slow),
    ],
)
def test_of_two_heads_the_mean_is_taken(name: str) -> None:
    model = made(name)
    assert model.last_layer is None and model.linear_head is None
    run = run_of(model)
    heads = [output_of(model, each) for each in ("head", "head_dist")]
    assert not torch.allclose(*heads)
    assert torch.allclose(run.logits, (heads[0] + heads[1]) / 2, atol=1e-5)
    logits = model.train()(images())  # train mode of timm returns a pair, if asked to
    assert logits.shape == (3, CLASSES) and logits.requires_grad


def test_dropout_before_the_classifier_is_off_in_eval_and_on_in_train_mode() -> None:
    model = build_model("timm/ghostnet_050", CLASSES)
    model.network.drop_rate = 0.5
    x = images()
    with torch.no_grad():
        assert torch.equal(model.eval()(x), model(x))
        model.train()
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()
        assert not torch.equal(model(x), model(x))


def test_a_teacher_stays_in_eval_mode() -> None:
    """Its BatchNorm statistics stay what they are, and a row does not depend on the others."""
    teacher = Teacher(made("timm/test_resnet"), NORMALISATIONS["imagenet"], "fp32")
    before = weights_digest(teacher.model)
    pixels = (images(rows=20) * 64 + 128).clamp(0, 255).to(torch.uint8)
    torch.nn.Sequential(teacher).train()
    whole, part = teacher(pixels), teacher(pixels[:2])
    assert all(torch.equal(values, whole[name][:2]) for name, values in part.items())
    assert weights_digest(teacher.model) == before
    assert not any(module.training for module in teacher.modules())


@pytest.mark.slow
def test_a_network_that_was_published_without_a_classifier(
    tmp_path: Path,
) -> None:
    """Its features can be kept; as logits it would say its embedding, which fits no classes."""
    model = build_model("timm/vit_small_patch14_dinov2", None, size=28).eval()
    assert model.last_layer is None and model.num_classes == model.embedding_width == 384
    run = model.run(images(28))
    assert torch.equal(run.logits, run.embedding)
    weights = save(tmp_path / "dino.pt", model.network.state_dict())
    with_head = build_model("timm/vit_small_patch14_dinov2", CLASSES, size=28)
    with pytest.raises(InputError, match=r"head.weight is absent there and \(7, 384\) here"):
        load_weights(with_head, weights)


def test_a_vit_is_made_for_the_size_of_the_views() -> None:
    for size, tokens in ((64, 16), (96, 36)):
        model = build_model("timm/test_vit", CLASSES, size=size)
        assert model.network.pos_embed.shape == (1, 1 + tokens, 64)
        assert model.run(images(size)).stages[-1].shape[2] ** 2 == tokens


@pytest.mark.parametrize(
    ("name", "size", "why"),
    [
        ("timm/test_vit", 100, "AssertionError: Input height (100) should be divisible by patch"),
        ("timm/test_convnext", 16, "RuntimeError: Calculated padded input size per channel"),
        ("timm/levit_128s", 100, "RuntimeError: The size of tensor a (49) must match"),
    ],
)
def test_a_size_that_a_network_does_not_take(name: str, size: int, why: str) -> None:
    text = refused(name, size)
    assert text.startswith(f"{name} fails on images of {size} x {size} pixels ({why}")
    assert text.endswith("): give the --size that it was made for")


def test_any_number_of_stages() -> None:
    assert len(build_model("timm/levit_128s", CLASSES, size=64).channels) == 3
    every = tuple(map(str, range(12)))
    model = made("timm/vit_tiny_patch16_224", 32, every)
    run = run_of(model, 32)
    assert model.stage_modules == every and model.channels == (192,) * 12
    for number, maps in enumerate(run.stages):
        tokens = output_of(model, f"blocks.{number}", 32)
        assert torch.equal(maps.flatten(2).transpose(1, 2), tokens[:, 1:])


@pytest.mark.slow
def test_whether_the_head_is_linear_follows_the_weights() -> None:
    """It is looked at again when they have changed: here BatchNorm becomes the identity."""
    model = build_model("timm/efficientvit_m0", CLASSES)
    identity = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1 - 1e-5}
    for weights, is_linear in (({}, False), (identity, True), ({}, False)):
        state = randomised(model.network)
        for name, value in weights.items():
            state[f"head.bn.{name}"].fill_(value)
        model.network.load_state_dict(state)
        measure(model, 224, CLASSES)
        assert model.is_linear == is_linear
        run_of(model.eval(), 224)
