"""The names that flags accept, each with its meaning in one line.

This module imports nothing slow, so that `--help` and a mistyped flag are answered at once.
tests/test_flags.py checks that the code implements exactly these names.
"""

# Architecture -> the stems that it can have, the default first.
ARCHITECTURES = {
    **dict.fromkeys(
        ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"), ("imagenet", "cifar")
    ),
    **dict.fromkeys(
        [f"cifar_resnet{layers}" for layers in (8, 14, 20, 32, 44, 56, 110)],
        ("cifar",),
    ),
}

# All other classifiers of torchvision: the beginning of their names and how they go on.
_FAMILIES = {
    "alexnet": "",
    "convnext_": "base large small tiny",
    "densenet": "121 161 169 201",
    "efficientnet_b": "0 1 2 3 4 5 6 7",
    "efficientnet_v2_": "l m s",
    "googlenet": "",
    "inception_v3": "",
    "maxvit_t": "",
    "mnasnet": "0_5 0_75 1_0 1_3",
    "mobilenet_v": "2 3_large 3_small",
    "regnet_x_": "16gf 1_6gf 32gf 3_2gf 400mf 800mf 8gf",
    "regnet_y_": "128gf 16gf 1_6gf 32gf 3_2gf 400mf 800mf 8gf",
    "resnext": "101_32x8d 101_64x4d 50_32x4d",
    "shufflenet_v2_x": "0_5 1_0 1_5 2_0",
    "squeezenet1_": "0 1",
    "swin_": "b s t v2_b v2_s v2_t",
    "vgg": "11 11_bn 13 13_bn 16 16_bn 19 19_bn",
    "vit_": "b_16 b_32 h_14 l_16 l_32",
    "wide_resnet": "101_2 50_2",
}
TORCHVISION = tuple(
    f"{family}{variant}" for family, known in _FAMILIES.items() for variant in known.split(" ")
)

NETWORKS = {
    "resnet34, swin_t, ...": "one of torchvision's classifiers",
    "cifar_resnet20, ...": "the small ResNets for 32 px, with 8, 14, 20, 32, 44, 56 or 110 layers",
    "timm/NAME[.TAG]": "any model of timm, like timm/vit_tiny_patch16_224 (pip install timm)",
    "hf-hub:OWNER/NAME": "a timm model on the Hugging Face hub",
    "local-dir:FOLDER": "a timm model in a folder: config.json and weights",
    "FILE.py:FUNCTION": "your own: a function that takes num_classes and returns an nn.Module",
}

STEMS = {
    "imagenet": "7x7 convolution of stride 2, then max-pool: that of torchvision's weights",
    "cifar": "3x3 convolution of stride 1, no max-pool: for images of 32 px",
}

FORMATS = {
    "zarr": "targets only, 1 to 7 kB a view; training decodes the source's images",
    "webdataset": "view shards: targets and the pixels as JPEG, about 25 kB a view at 224 px; "
    "training needs no source images",
}

POLICIES = {
    "random-resized-crop": "a box of 8 to 100 % of the area, resized, flipped half the time",
    "pad-crop": "mirrored by 4 px at the edges, cropped, flipped half the time: CIFAR's",
    "resize-center": "one view per image, torchvision's Resize(256) and CenterCrop(224): for val",
    "center": "one view per image, a central square of source pixels: val of earlier versions",
}

INTERPOLATIONS = ("bilinear", "bicubic")

VAL_POLICY = "resize-center"  # the default, with or without a cache
ONE_VIEW = frozenset({"resize-center", "center"})  # policies without random draws


def has_one_view(policy: str) -> bool:
    """Whether all views of an image are the same, as with the policies for val."""
    return policy in ONE_VIEW


# Bytes per view for ResNet-34 and 1000 classes in the format zarr: shared/targets/codecs.py.
CODECS = {
    "exact": "6.6 kB a view; float32, the live teacher's bits",
    "half": "3.1 kB; float16, logits relative to their row's maximum",
    "compact": "1.5 kB; float16 means, logits derived from what the last layer reads",
    "tiny": "0.8 kB; 8-bit means, logits derived likewise",
}

STATISTICS = {
    "eval": "the running statistics in the weights; an image's targets depend on it alone",
    "batch": "those of fixed batches of 256 images, as in the paper's code, which left its teacher "
    "in train mode; for --format webdataset",
}

TARGETS = {  # bytes per view with codec half, ResNet-34 at 224 px: shared/targets/kinds.py
    "logits": "before softmax (2.0 kB), for KD",
    "channels": "mean of every channel of every stage (1.9 kB), for CD",
    "embedding": "what the last layer reads (1.0 kB; nothing where channels are kept)",
    "attention3, ...": "mean of squares over the channels of a stage (392 bytes for stage 3), for "
    "AT; attention: all stages",
    "grid4": "mean and deviation of the last stage in 4 x 4 cells (33 kB)",
    "map4, ...": "the whole output of a stage (50 kB for stage 4, 401 for stage 1), for FitNets",
}

AUGMENTATIONS = {  # shared/pixels/augmentation.py
    "jitter=0.4": "brightness, contrast and saturation by up to 0.4; or each, and hue: "
    "0.4:0.4:0.4:0.1",
    "randaugment=2x9": "RandAugment: 2 operations of magnitude 9 of 30",
    "erasing=0.25": "a rectangle becomes noise, in 0.25 of the views",
    "mixup=0.2": "blended with the same view of another image, weights from Beta(0.2, 0.2); losses "
    "that read hard labels refuse such a cache, as of cutmix",
    "cutmix=1.0": "a rectangle comes from another image; with both, each view has one of the two",
}

TEACHER_PRECISIONS = ("fp32", "bf16")
STUDENT_PRECISIONS = ("fp32", "bf16", "fp16")

TEACHERS = {
    "cached": "targets come from the cache",
    "live": "the cache's views, but the teacher runs at every step, to compare",
    "none": "plain training; needs no cache",
}

LOGS = {
    "jsonl": "metrics.jsonl in the run folder: always written, a run resumes from it",
    "csv": "metrics.csv there: a row for each epoch",
    "tensorboard": "events for TensorBoard in tensorboard/ there (pip install tensorboard)",
    "wandb": "Weights & Biases, or with WANDB_MODE=offline files in wandb/ there; project and name "
    "are those of the run's folders, or WANDB_PROJECT and WANDB_NAME (pip install wandb)",
}

SOURCES = {
    "FOLDER": "an ImageFolder root with train/ and val/, ImageNet's archives, or tars",
    "PATTERN": "WebDataset tars, local or at a URL, like DIR/{train-{000..099},val-{00..07}}.tar",
    "digits": "1,797 handwritten digits, 32 px; built in, needs no network",
    "imagenette, cifar10, cifar100": "downloaded by torchvision",
}
