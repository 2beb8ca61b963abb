"""The stages that are found where none are named: of every family of torchvision."""

import pytest
import torch
import torchvision

from shared.choices import TORCHVISION
from shared.models.build import build_model
from shared.models.resnet import RESNETS
from tests.models.made import CLASSES

# Smallest member of a family, and pixels a side: stages with their channels, embedding.
FAMILIES = {
    ("efficientnet_b0", 32): ("features.2 24, features.3 40, features.5 112, features 1280", 1280),
    ("mnasnet0_5", 32): ("layers.8 16, layers.9 24, layers.11 48, layers 1280", 1280),
    ("mobilenet_v2", 32): ("features.3 24, features.6 32, features.13 96, features 1280", 1280),
    ("mobilenet_v3_small", 32): ("features.1 16, features.3 24, features.8 48, features 576", 1024),
    ("mobilenet_v3_large", 32): ("features.3 24, features.6 40, features.12 112, features 960",
                                 1280),
    ("regnet_x_400mf", 32): ("trunk_output.block1 32, trunk_output.block2 64, "
                             "trunk_output.block3 160, trunk_output 400", 400),
    ("regnet_y_400mf", 32): ("trunk_output.block1 48, trunk_output.block2 104, "
                             "trunk_output.block3 208, trunk_output 440", 440),
    ("shufflenet_v2_x0_5", 32): ("maxpool 24, stage2 48, stage3 96, conv5 1024", 1024),
    ("squeezenet1_0", 32): ("features.1 96, features.5 256, features.10 512, features 512", 512),
    ("squeezenet1_1", 32): ("features.1 64, features.4 128, features.7 256, features 512", 512),
}  # fmt: skip
LARGE = {
    ("alexnet", 64): ("features.1 64, features.4 192, features.11 256, features 256", 4096),
    ("convnext_tiny", 32): ("features.1 96, features.3 192, features.5 384, features 768", 768),
    ("densenet121", 32): ("features.denseblock1 256, features.denseblock2 512, "
                          "features.denseblock3 1024, features 1024", 1024),
    ("efficientnet_v2_s", 32): ("features.2 48, features.3 64, features.5 160, features 1280",
                                1280),
    ("googlenet", 32): ("conv3 192, inception3b 480, inception4e 832, inception5b 1024", 1024),
    ("inception_v3", 75): ("Conv2d_4a_3x3 192, Mixed_5d 288, Mixed_6e 768, Mixed_7c 2048", 2048),
    ("maxvit_t", 224): ("blocks.0 64, blocks.1 128, blocks.2 256, blocks.3 512", 512),
    ("resnext50_32x4d", 32): ("layer1 256, layer2 512, layer3 1024, layer4 2048", 2048),
    ("swin_t", 32): ("features.1 96, features.3 192, features.5 384, permute 768", 768),
    ("swin_v2_t", 32): ("features.1 96, features.3 192, features.5 384, permute 768", 768),
    ("vgg11", 32): ("features.9 256, features.14 512, features.19 512, features 512", 4096),
    ("vgg11_bn", 32): ("features.13 256, features.20 512, features.27 512, features 512", 4096),
    ("vit_b_32", 64): ("encoder.layers.encoder_layer_2 768, encoder.layers.encoder_layer_5 768, "
                       "encoder.layers.encoder_layer_8 768, encoder.layers.encoder_layer_11 768",
                       768),
    ("wide_resnet50_2", 32): ("layer1 256, layer2 512, layer3 1024, layer4 2048", 2048),
}  # fmt: skip


def require_stages(name: str, size: int, stages: str, embedding: int) -> None:
    model = build_model(name, CLASSES, size=size).eval()
    assert model.stage_modules is not None
    found = zip(model.stage_modules, model.channels, strict=True)
    assert ", ".join(f"{module} {width}" for module, width in found) == stages
    assert model.embedding_width == embedding
    assert (model.linear_head is None) == name.startswith("squeezenet")
    x = torch.randn(2, 3, size, size)
    with torch.no_grad():
        run = model.run(x)
        assert torch.equal(run.logits, model.network(x))
    assert tuple(maps.shape[1] for maps in run.stages) == model.channels
    sides = [maps.shape[2] for maps in run.stages]
    assert sides == sorted(sides, reverse=True)


@pytest.mark.parametrize(("name", "size"), FAMILIES)
def test_stages_of_torchvisions_networks(name: str, size: int) -> None:
    require_stages(name, size, *FAMILIES[name, size])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), LARGE)
def test_stages_of_torchvisions_larger_networks(name: str, size: int) -> None:
    require_stages(name, size, *LARGE[name, size])


def test_the_table_names_every_family() -> None:
    """Besides the ResNets, whose stages are written out."""
    families = {getattr(torchvision.models, name).__module__ for name in TORCHVISION}
    found = {getattr(torchvision.models, name).__module__ for name, _ in [*FAMILIES, *LARGE]}
    assert found == families


def test_every_classifier_of_torchvision_is_known() -> None:
    known = torchvision.models.list_models(module=torchvision.models)
    assert sorted([*TORCHVISION, *RESNETS]) == sorted(known)


def test_a_family_has_the_same_stages_at_every_size() -> None:
    """They are found at 224 px: at 32 px MobileNetV2's last two have one map size."""
    small, large = (build_model("mobilenet_v2", CLASSES, size=size) for size in (32, 224))
    assert small.stage_modules == large.stage_modules and small.channels == large.channels
