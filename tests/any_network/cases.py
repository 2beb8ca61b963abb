"""The networks that test_every_network.py tries, one a line."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CLASSES = 10
OWN = Path(__file__).with_name("own_network.py")


@dataclass(frozen=True)
class Case:
    name: str  # as in --teacher
    size: int  # pixels a side of the views
    special: str  # what is special about it
    modules: str  # the library's modules whose outputs are the stages
    # What these outputs are: "maps" (B, C, H, W), "last" (B, H, W, C), or a number: tokens
    # (B, T, C), of which this many come before those of the map.
    layout: str | int = "maps"
    fast: bool = False  # whether `make test` runs it
    options: dict[str, Any] = field(default_factory=dict)  # for the library's function
    flags: tuple[str, ...] = ()  # for the commands


BLOCKS = "blocks.2 blocks.5 blocks.8 blocks.11"  # of the 12 of a ViT
LAYERS = "layer1 layer2 layer3 layer4"
PYRAMID = "stages.0 stages.1 stages.2 stages.3"
NO_AUX = {"aux_logits": False, "init_weights": True}
IMG = {"img_size": 64}

CASES = (
    # ---- torchvision
    Case("resnet18", 32, "written here, runs stage by stage", LAYERS),
    Case("resnext50_32x4d", 64, "grouped convolutions", LAYERS),
    Case("alexnet", 64, "no normalisation", "features.1 features.4 features.11 features"),
    Case("vgg11_bn", 64, "three linear layers in the head",
         "features.13 features.20 features.27 features"),
    Case("googlenet", 64, "two auxiliary heads",
         "conv3 inception3b inception4e inception5b", options=NO_AUX),
    Case("inception_v3", 96, "an auxiliary head; 75 px at least",
         "Conv2d_4a_3x3 Mixed_5d Mixed_6e Mixed_7c", options=NO_AUX),
    Case("squeezenet1_1", 64, "a convolution and ReLU as head",
         "features.1 features.4 features.7 features"),
    Case("densenet121", 64, "the head changes the last stage in place",
         "features.denseblock1 features.denseblock2 features.denseblock3 features"),
    Case("shufflenet_v2_x0_5", 64, "its first stage is a pool", "maxpool stage2 stage3 conv5"),
    Case("mnasnet0_5", 64, "one flat list of layers", "layers.8 layers.9 layers.11 layers"),
    Case("mobilenet_v2", 64, "one flat list of blocks",
         "features.3 features.6 features.13 features"),
    Case("mobilenet_v3_small", 64, "two linear layers in the head",
         "features.1 features.3 features.8 features", fast=True),
    Case("efficientnet_b0", 64, "squeeze and excite",
         "features.2 features.3 features.5 features"),
    Case("regnet_y_400mf", 64, "stages in a Sequential",
         "trunk_output.block1 trunk_output.block2 trunk_output.block3 trunk_output"),
    Case("convnext_tiny", 64, "LayerNorm after the stages",
         "features.1 features.3 features.5 features.7"),
    Case("swin_t", 64, "channels last", "features.1 features.3 features.5 norm", "last"),
    Case("swin_v2_t", 64, "channels last", "features.1 features.3 features.5 norm", "last"),
    Case("maxvit_t", 224, "224 px only", "blocks.0 blocks.1 blocks.2 blocks.3"),
    Case("vit_b_32", 64, "a class token", " ".join(f"encoder.layers.encoder_layer_{block}"
         for block in (2, 5, 8, 11)), 1, options={"image_size": 64}),
    # ---- timm, networks of convolutions
    Case("timm/resnet10t", 64, "a stem of three convolutions", LAYERS),
    Case("timm/test_resnet", 64, "basic and bottleneck blocks", LAYERS),
    Case("timm/resnetv2_50", 64, "a 1x1 convolution as head; norm after the stages", PYRAMID),
    Case("timm/test_byobnet", 64, "a convolution after the stages",
         "stages.0 stages.1 stages.2 final_conv"),
    Case("timm/regnety_002", 64, "stages s1 to s4", "s1 s2 s3 s4"),
    Case("timm/mobilenetv3_small_050", 64, "a convolution after the pool",
         "blocks.0 blocks.1 blocks.3 blocks.5"),
    Case("timm/mobilenetv4_conv_small_035", 64, "a convolution after the pool",
         "blocks.0 blocks.1 blocks.2 blocks.4"),
    Case("timm/mobilenetv4_hybrid_medium", 64, "attention among convolutions",
         "blocks.0 blocks.1 blocks.2 blocks.4"),
    Case("timm/ghostnet_100", 64, "dropout of 0.2", "blocks.1 blocks.3 blocks.5 blocks.7"),
    Case("timm/hrnet_w18_small", 64, "parallel branches, wider after them",
         "incre_modules.0 incre_modules.1 incre_modules.2 incre_modules.3"),
    Case("timm/test_efficientnet", 64, "a convolution after the stages",
         "blocks.1 blocks.2 blocks.3 blocks.4"),
    Case("timm/test_efficientnet_gn", 64, "GroupNorm", "blocks.1 blocks.2 blocks.3 blocks.4"),
    Case("timm/test_efficientnet_evos", 64, "EvoNorm", "blocks.1 blocks.2 blocks.3 blocks.4"),
    Case("timm/test_nfnet", 64, "weights standardised as they run",
         "stages.0 stages.1 stages.2 final_conv"),
    Case("timm/test_convnext", 64, "norm after the stages", PYRAMID, fast=True),
    Case("timm/convnext_atto", 64, "norm after the stages", PYRAMID),
    Case("timm/test_mambaout", 64, "channels last", PYRAMID, "last"),
    # ---- timm, networks of tokens and hybrids
    Case("timm/test_coatnet", 160, "relative positions", "stages.0 stages.1 stages.2 stages.3"),
    Case("timm/test_maxvit", 160, "windows and grids", PYRAMID),
    Case("timm/test_vit", 64, "6 blocks", "blocks.0 blocks.2 blocks.3 blocks.5", 1, fast=True,
         options=IMG),
    Case("timm/test_vit2", 64, "8 blocks, mean of the tokens",
         "blocks.1 blocks.3 blocks.5 blocks.7", 1, options=IMG),
    Case("timm/test_vit3", 64, "pool by attention, a register token",
         "blocks.1 blocks.3 blocks.5 blocks.8", 1, options=IMG),
    Case("timm/test_vit_relpos", 64, "relative positions",
         "blocks.1 blocks.3 blocks.5 blocks.8", 0, options=IMG),
    Case("timm/vit_tiny_patch16_224", 64, "another size than its own", BLOCKS, 1,
         options=IMG),
    Case("timm/vit_tiny_patch16_224", 64, "12 stages", " ".join(f"blocks.{n}" for n in range(12)),
         1, options=IMG, flags=("--stage-modules", ",".join(map(str, range(12))))),
    Case("timm/deit_tiny_distilled_patch16_224", 64, "two heads, two tokens", BLOCKS, 2,
         options=IMG),
    Case("timm/cait_xxs24_224", 64, "class attention after the stages",
         "blocks.5 blocks.11 blocks.17 blocks.23", 0, options=IMG),
    Case("timm/xcit_nano_12_p16_224", 64, "attention among channels, class attention", BLOCKS, 0),
    Case("timm/levit_128s", 224, "two heads, 3 stages, 224 px only",
         "stages.0 stages.1 stages.2", 0),
    Case("timm/mixer_s32_224", 224, "no attention, 224 px only",
         "blocks.1 blocks.3 blocks.5 blocks.7", 0),
    Case("timm/swin_tiny_patch4_window7_224", 64, "channels last",
         "layers.0 layers.1 layers.2 layers.3", "last", options=IMG),
    # ---- neither
    Case("cifar_resnet20", 32, "3 stages", "layer1 layer2 layer3", fast=True),
    Case(f"{OWN}:make", 32, "2 stages, by its own method", "first second", fast=True),
    Case(f"{OWN}:swin", 32, "channels last, 2 stages that are found", "features.1 norm", "last",
         fast=True),
)  # fmt: skip
BY_NAME = {case.name: case for case in CASES if not case.flags}
