"""The three-stage ResNets for images of 32 px."""

import pytest
import torch
from torch import nn

from shared.errors import InputError
from shared.models.build import build_model
from tests.networks import refused


@pytest.mark.parametrize(
    ("architecture", "parameters"),
    # The published counts for 10 classes (github.com/akamaster/pytorch_resnet_cifar10, shortcuts
    # without parameters) and 2,752 for the two shortcuts that have some here.
    # Those with 8 and 14 layers, which the paper does not have: one and two blocks a stage.
    [
        ("cifar_resnet8", 75_290 + 2_752),
        ("cifar_resnet14", 172_506 + 2_752),
        ("cifar_resnet20", 269_722 + 2_752),
        ("cifar_resnet32", 464_154 + 2_752),
        ("cifar_resnet44", 658_586 + 2_752),
        ("cifar_resnet56", 853_018 + 2_752),
        ("cifar_resnet110", 1_727_962 + 2_752),
    ],
)
def test_cifar_resnets_have_the_papers_size(architecture: str, parameters: int) -> None:
    with torch.device("meta"):
        model = build_model(architecture, 10)
        run = model.run(torch.empty(2, 3, 32, 40))
        logits, stages = run.logits, run.stages
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) - 2 == int(architecture.removeprefix("cifar_resnet"))  # less shortcuts
    assert {name.split(".")[0] for name in model.state_dict()} == {
        *("conv1", "bn1", "layer1", "layer2", "layer3", "fc")
    }
    assert model.channels == (16, 32, 64)
    assert [tuple(stage.shape) for stage in stages] == [
        (2, width, 32 // stride, 40 // stride)
        for width, stride in zip(model.channels, (1, 2, 4), strict=True)
    ]
    assert logits.shape == (2, 10)
    assert (model.architecture, model.stem, model.num_classes) == (architecture, "cifar", 10)
    assert 32 // stages[-1].shape[2] == model.stride


def test_a_cifar_resnets_logits_are_the_head_of_its_last_means() -> None:
    model = build_model("cifar_resnet20", 5).eval()
    seen = []
    for layer in (model.layer1, model.layer2, model.layer3):
        assert isinstance(layer, nn.Module)
        layer.register_forward_hook(lambda module, given, output: seen.append(output))
    with torch.no_grad():
        run = model.run(torch.randn(2, 3, 32, 32))
        logits, stages = run.logits, run.stages
    assert all(torch.equal(stage, output) for stage, output in zip(stages, seen, strict=True))
    assert torch.equal(logits, model.fc(stages[-1].mean(dim=(2, 3))))
    assert all((stage >= 0).all() and (stage > 0).any() for stage in stages)  # after ReLU


def test_a_stem_that_an_architecture_cannot_have() -> None:
    with pytest.raises(InputError, match="--stem must be cifar for cifar_resnet20: got imagenet"):
        build_model("cifar_resnet20", 5, "imagenet")


def test_no_weights_of_cifar_resnets_are_published() -> None:
    text = refused(build_model("cifar_resnet20", 5), "IMAGENET1K_V1")
    assert text.startswith(
        "--weights must be a file for cifar_resnet20: there is no 'IMAGENET1K_V1'"
    )
