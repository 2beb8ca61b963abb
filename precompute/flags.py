"""The flags of precompute/run.py and precompute/plan.py. Has no slow imports, for --help."""

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path

from shared import choices
from shared.commandline import Parser

DEFAULT_VIEWS = 4


def make_parser(description: str, examples: Iterable[str]) -> Parser:
    meanings = {
        "SOURCE, where images come from": choices.SOURCES,
        "--format": choices.FORMATS,
        "--policy": choices.POLICIES,
        "--codec": choices.CODECS,
        "NAME, of networks": choices.NETWORKS,
        "--stem": choices.STEMS,
        "--teacher-statistics": choices.STATISTICS,
        "--targets": choices.TARGETS,
        "--augment": choices.AUGMENTATIONS,
    }
    parser = Parser(description, examples, meanings)
    add_flags(parser)
    return parser


def add_skip_bad(add: Callable[..., argparse.Action]) -> None:
    add(
        "--skip-bad",
        nargs="?",
        type=float,
        const=0.01,
        metavar="SHARE",
        help="skip images that do not decode, up to this share of all images (default: stop at the "
        "first; 0.01 where no SHARE is given)",
    )


def add_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("images").add_argument
    add("--split", required=True, metavar="NAME", help="train or val; required")
    add(
        "--images",
        metavar="SOURCE",
        help="where the images are (default: data/imagenet where it exists, else digits)",
    )
    add("--limit", type=int, metavar="N", help="use only N images, evenly spread (default: all)")
    add_skip_bad(add)

    add = parser.add_argument_group("views").add_argument
    add(
        "--views",
        type=int,
        metavar="K",
        help=f"views per image; epoch e trains on view e mod K (default: {DEFAULT_VIEWS}; 1 for "
        f"{' and '.join(sorted(choices.ONE_VIEW))})",
    )
    add(
        "--policy",
        choices=choices.POLICIES,
        metavar="POLICY",
        help="how views are drawn (default: random-resized-crop, pad-crop for small built-in sets, "
        f"{choices.VAL_POLICY} for val)",
    )
    add(
        "--size",
        type=int,
        metavar="PIXELS",
        help="side of the network's input (default: 32 for small built-in sets, else that of its "
        "weights' training, mostly 224)",
    )
    add("--seed", type=int, default=0, metavar="N", help="seed of the views")
    add(
        "--augment",
        metavar="PARTS",
        help="what else is done to training views, see below: parts separated by commas, like "
        "randaugment=2x9,erasing=0.25 (default: nothing)",
    )

    add = parser.add_argument_group("teacher").add_argument
    add(
        "--teacher",
        default="resnet34",
        metavar="NAME",
        help="a network of torchvision, timm or your own, see below (default: resnet34)",
    )
    add(
        "--stem",
        choices=choices.STEMS,
        metavar="STEM",
        help="the teacher's stem, see below (default: imagenet; cifar_resnets have their own)",
    )
    add(
        "--weights",
        metavar="NAME|FILE",
        help="a name of torchvision's, a tag of timm's, or a file: a state dict, or safetensors "
        "(default: IMAGENET1K_V1, timm's own, or those that your network comes with; for digits a "
        "teacher that is trained first)",
    )
    add(
        "--stage-modules",
        metavar="NAMES",
        help="the modules whose outputs are the stages, like layer1,layer2; of a timm network the "
        "numbers of its intermediate outputs, like 2,5,8,11 (default: the last at each map size)",
    )
    add(
        "--classes",
        type=Path,
        metavar="FILE",
        help="which of the teacher's classes are those of the images: lines with the name of a "
        "class and the teacher's number for it, from 0 (default: both have the same classes)",
    )
    add("--mean", metavar="R,G,B", help="of the normalisation (default: the weights' own)")
    add("--std", metavar="R,G,B", help="of the normalisation (default: the weights' own)")
    add(
        "--interpolation",
        choices=choices.INTERPOLATIONS,
        metavar="NAME",
        help="how boxes are resized, bilinear or bicubic (default: the weights' own)",
    )
    add(
        "--crop",
        type=float,
        metavar="SHARE",
        help="of the shorter side that a central view keeps (default: the weights' own, or 0.875)",
    )
    add(
        "--precision",
        choices=choices.TEACHER_PRECISIONS,
        default="fp32",
        metavar="TYPE",
        help="precision of the teacher's convolutions, fp32 or bf16 (default: fp32)",
    )
    add(
        "--teacher-statistics",
        choices=choices.STATISTICS,
        default="eval",
        metavar="NAME",
        help="what the teacher's BatchNorm normalises with, see below (default: eval)",
    )

    add(
        "--targets",
        metavar="KINDS",
        help="what to keep of the teacher, see below: names separated by commas; for an existing "
        "cache, what to add to it (default: logits,channels)",
    )

    add = parser.add_argument_group("cache").add_argument
    add(
        "--cache",
        default="data/teacher_cache",
        metavar="DIR|URL",
        help="where the cache goes: a folder or s3://bucket/path",
    )
    add("--format", choices=choices.FORMATS, default="zarr", metavar="FORMAT", help="see below")
    add("--codec", choices=choices.CODECS, default="half", metavar="CODEC", help="see below")
    add(
        "--block",
        type=int,
        metavar="N",
        help="images per block, the unit of resuming (default: 8192 for zarr, 1024 for webdataset)",
    )

    add = parser.add_argument_group("speed").add_argument
    add(
        "--batch-size",
        type=int,
        default=256,
        metavar="N",
        help="images per forward pass; always 256 with --teacher-statistics batch",
    )
    add(
        "--workers",
        type=int,
        metavar="N",
        help="decoding processes (default: one per core beside a GPU, at most 16; none on a CPU)",
    )
    add("--device", metavar="NAME", help="cpu, cuda, cuda:1, ... (default: the best there is)")


def add_plan_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of precompute/plan.py alone."""
    add = parser.add_argument_group("what to price").add_argument
    add(
        "--processes",
        type=int,
        default=1,
        metavar="N",
        help="processes that make the cache, and train from it; one per GPU (default: 1)",
    )
    add(
        "--node-memory",
        metavar="SIZE",
        help="memory of a machine that trains, like 512GB (default: that of this machine)",
    )
