"""Staged ResNets: torchvision's parameters, torchvision's bits, and its layers as stages."""

import pytest
import torch

from shared.choices import ARCHITECTURES
from shared.models.cifar_resnet import CIFAR_RESNETS
from shared.models.resnet import RESNETS
from tests.networks import every_stem, plain, randomised, staged

WIDTHS = {
    "resnet18": (64, 128, 256, 512),
    "resnet34": (64, 128, 256, 512),
    "resnet50": (256, 512, 1024, 2048),
    "resnet101": (256, 512, 1024, 2048),
    "resnet152": (256, 512, 1024, 2048),
}
every_resnet = pytest.mark.parametrize("architecture", RESNETS)


@every_resnet
def test_state_dict_is_torchvisions_both_ways(architecture: str) -> None:
    with torch.device("meta"):
        ours, theirs = staged(architecture), plain(architecture, 5)
    shapes = [(name, value.shape) for name, value in theirs.state_dict().items()]
    assert [(name, value.shape) for name, value in ours.state_dict().items()] == shapes
    assert [name for name, _ in ours.named_parameters()] == [
        name for name, _ in theirs.named_parameters()
    ]
    assert [name for name, _ in ours.named_modules()] == [
        name for name, _ in theirs.named_modules()
    ]
    state = {name: torch.empty(shape) for name, shape in shapes}
    ours.load_state_dict(state, strict=True, assign=True)
    theirs.load_state_dict(ours.state_dict(), strict=True, assign=True)


@every_resnet
def test_cifar_stem_changes_the_first_convolution_only(architecture: str) -> None:
    with torch.device("meta"):
        ours, theirs = staged(architecture, stem="cifar"), plain(architecture, 5)
    mine = {name: tuple(value.shape) for name, value in ours.state_dict().items()}
    others = {name: tuple(value.shape) for name, value in theirs.state_dict().items()}
    assert mine.pop("conv1.weight") == (64, 3, 3, 3)
    assert others.pop("conv1.weight") == (64, 3, 7, 7)
    assert mine == others


@pytest.mark.parametrize("architecture", ["resnet18", "resnet34", "resnet50"])
def test_eval_logits_have_torchvisions_bits(architecture: str) -> None:
    ours, theirs = staged(architecture).eval(), plain(architecture, 5).eval()
    x = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert not torch.equal(ours(x), theirs(x))  # other initial weights
        state = randomised(theirs)
        ours.load_state_dict(state)
        theirs.load_state_dict(state)
        logits = ours(x)
        assert logits.isfinite().all()
        assert logits.std() > 1e-3
        torch.testing.assert_close(logits, theirs(x))
        # Bit for bit where its weights lie as ours do: convolutions then sum in the same order.
        assert torch.equal(logits, theirs.to(memory_format=torch.channels_last)(x))


def test_stages_are_torchvisions_layers() -> None:
    model = staged("resnet18").eval()
    model.load_state_dict(randomised(model))
    seen = []
    for layer in (model.layer1, model.layer2, model.layer3, model.layer4):
        layer.register_forward_hook(lambda module, given, output: seen.append(output))
    with torch.inference_mode():
        stages = model.run(torch.randn(2, 3, 64, 64)).stages
    assert len(stages) == len(seen) == 4
    for stage, output in zip(stages, seen, strict=True):
        assert torch.equal(stage, output)
        assert (stage >= 0).all()  # after ReLU
        assert (stage > 0).any()


@every_stem
@every_resnet
def test_stage_shapes_and_channels(architecture: str, stem: str) -> None:
    with torch.device("meta"):
        model = staged(architecture, 7, stem)
        run = model.run(torch.empty(2, 3, 64, 96))
        logits, stages = run.logits, run.stages
    assert model.channels == WIDTHS[architecture]
    first = 4 if stem == "imagenet" else 1  # pixels of the image a pixel of the first stage
    for stage, width, stride in zip(stages, model.channels, (1, 2, 4, 8), strict=True):
        assert stage.shape == (2, width, 64 // (first * stride), 96 // (first * stride))
    assert logits.shape == (2, 7)
    assert (model.architecture, model.stem, model.num_classes) == (architecture, stem, 7)


@every_stem
@pytest.mark.parametrize("architecture", ["resnet18", "resnet50"])
@pytest.mark.parametrize("training", [False, True])
def test_logits_are_the_head_of_the_last_means(
    architecture: str, stem: str, training: bool
) -> None:
    model = staged(architecture, stem=stem).train(training)
    with torch.no_grad():
        run = model.run(torch.randn(2, 3, 32, 32))
        logits, stages = run.logits, run.stages
        assert torch.equal(logits, model.fc(stages[-1].mean(dim=(2, 3))))
        assert torch.equal(run.embedding, stages[-1].mean(dim=(2, 3)))
        assert torch.equal(logits, model.fc(torch.flatten(model.avgpool(stages[-1]), 1)))


def test_all_architectures_are_known() -> None:
    assert list(ARCHITECTURES) == [*RESNETS, *CIFAR_RESNETS]
