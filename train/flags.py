"""The flags of train/run.py. Has no slow imports, for --help."""

import argparse

from shared import choices
from shared.commandline import Parser
from shared.files.location import parse_location
from train.logs.names import log_names
from train.names import DEFAULT_RECIPE, RECIPES, SET_KEYS

EXAMPLES = (
    "python train/run.py --cache data/teacher_cache",
    "python train/run.py --cache data/teacher_cache --recipe s_resnet18.t_resnet34.kd.ce \\\n"
    "      --epochs 30 --out runs/kd",
    "python train/run.py --cache data/teacher_cache --recipe s_resnet18.t_resnet34.kd.ce \\\n"
    "      --set kd.weight=0.9 kd.temperature=4 lr=0.2 schedule=cosine warmup=5 --out runs/kd4",
    "python train/run.py --cache data/teacher_cache --recipe my_recipe.py --dry-run",
    "python train/run.py --cache data/teacher_cache --student timm/mobilenetv3_small_100",
    "python train/run.py --images /data/imagenet --recipe resnet18.ce --teacher none",
    "torchrun --nproc-per-node 8 train/run.py --cache data/teacher_cache --workers 16",
)


def make_parser() -> Parser:
    parser = Parser(
        "Trains a student from a cache: the losses of the recipe run on the cached targets, "
        "without a forward pass of the teacher. "
        "If interrupted at any point, run the same command again to resume.",
        EXAMPLES,
        {
            "--recipe, with the published top-1 error in percent": RECIPES,
            "--set KEY=VALUE, and for a term of the recipe TERM.KEY=VALUE": SET_KEYS,
            "--teacher": choices.TEACHERS,
            "NAME, of networks": choices.NETWORKS,
            "--log": choices.LOGS,
        },
    )
    add_flags(parser)
    return parser


def add_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("what to train").add_argument
    add(
        "--recipe",
        default=DEFAULT_RECIPE,
        metavar="NAME|FILE.py",
        help="losses, schedules and all that changes results, see below; or a file that builds a "
        "Recipe (default: %(default)s)",
    )
    add(
        "--set",
        action="extend",
        nargs="+",
        metavar="KEY=VALUE",
        help="change the recipe, see below, like lr=0.2 schedule=cosine kd.temperature=4 "
        "(default: the recipe as it is)",
    )
    add(
        "--student",
        metavar="NAME",
        help="a network of torchvision, timm or your own, see below (default: the recipe's)",
    )
    add(
        "--init",
        metavar="NAME|FILE",
        help="weights to begin with: a name of torchvision's, a tag of timm's, or a file (default: "
        "new ones)",
    )
    add(
        "--stage-modules",
        metavar="NAMES",
        help="the modules whose outputs are the student's stages, like layer1,layer2; of a timm "
        "network the numbers of its intermediate outputs (default: the last at each map size)",
    )
    add(
        "--stages",
        metavar="PAIRS",
        help="which of the teacher's stages meet which of the student's, like 2:1,3:2,4:3 "
        "(default: paired from the last one backwards)",
    )
    add("--mean", metavar="R,G,B", help="of the student's normalisation (default: its library's)")
    add("--std", metavar="R,G,B", help="of the student's normalisation (default: its library's)")
    add(
        "--epochs",
        type=int,
        metavar="N",
        help="number of epochs; milestones move in proportion (default: the recipe's)",
    )
    add(
        "--batch-size",
        type=int,
        metavar="N",
        help="samples per step, over all processes (default: the recipe's)",
    )
    add("--lr", type=float, metavar="RATE", help="learning rate (default: the recipe's)")
    add("--seed", type=int, default=0, metavar="N", help="seed of weights and sample order")
    add(
        "--ema",
        type=float,
        metavar="DECAY",
        help="evaluate and keep averaged weights, like 0.9999 (default: the weights themselves)",
    )

    add = parser.add_argument_group("from what, to where").add_argument
    add(
        "--cache",
        metavar="DIR|URL",
        help="what precompute/run.py wrote (default: no cache, for --teacher none)",
    )
    add("--images", metavar="SOURCE", help="where the images are now (default: as in the cache)")
    add(
        "--out",
        type=parse_location,
        metavar="DIR|URL",
        help="run folder (default: runs/RECIPE)",
    )
    add(
        "--teacher",
        choices=choices.TEACHERS,
        default="cached",
        metavar="WHERE",
        help="cached, live or none, see below (default: cached)",
    )
    add(
        "--weights",
        metavar="NAME|FILE",
        help="weights of the live teacher (default: as in the cache)",
    )

    add = parser.add_argument_group("memory and speed").add_argument
    add("--device", metavar="NAME", help="cpu, cuda, cuda:1, ... (default: the best there is)")
    add(
        "--workers",
        type=int,
        metavar="N",
        help="decoding processes (default: one per core beside a GPU, at most 16; none on a CPU)",
    )
    add(
        "--precision",
        choices=choices.STUDENT_PRECISIONS,
        default="fp32",
        metavar="TYPE",
        help="precision of the student's forward pass: fp32, bf16 or fp16 (default: fp32)",
    )
    add(
        "--accumulate",
        type=int,
        default=1,
        metavar="N",
        help="cut the batch of a step into N pieces, where memory is small",
    )
    add(
        "--stage",
        metavar="DIR",
        help="local folder for the targets in use, one copy a machine; needs 1.2 times the bytes "
        "of a view (default: memory, /dev/shm with several processes, else the folder for "
        "temporary files)",
    )
    add("--sync-batchnorm", action="store_true", help="BatchNorm over all processes (GPUs only)")
    add("--compile", action="store_true", help="torch.compile the student")

    add = parser.add_argument_group("saving and looking").add_argument
    add(
        "--checkpoint-every",
        type=int,
        default=1000,
        metavar="STEPS",
        help="save this often, and every epoch",
    )
    add(
        "--keep",
        type=int,
        default=0,
        metavar="N",
        help="keep the checkpoints of the last N epochs in epochs/ (default: 0, only last.pt)",
    )
    add(
        "--validate-every",
        type=int,
        default=1,
        metavar="EPOCHS",
        help="evaluate on the val split this often, and after the last epoch",
    )
    add("--log-every", type=int, default=50, metavar="STEPS", help="how often the loss is read")
    add(
        "--log",
        type=log_names,
        default="jsonl",
        metavar="NAMES",
        help="where the numbers of each epoch go, a comma list, see below; metrics.jsonl is always "
        "written, as a run resumes from it (default: jsonl)",
    )
    add("--tensorboard", action="store_true", help="short for --log tensorboard")
    add("--dry-run", action="store_true", help="show recipe, cache, steps and time, then stop")
