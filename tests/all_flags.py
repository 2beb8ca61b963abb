"""Every flag of every command."""

from train.names import DEFAULT_RECIPE

# name: default; None where the command derives it from the source, the device or the recipe
PRECOMPUTE = {
    "--split": None, "--images": None, "--limit": None, "--skip-bad": None, "--views": None,
    "--policy": None, "--size": None, "--seed": 0, "--augment": None, "--teacher": "resnet34",
    "--stem": None, "--weights": None, "--stage-modules": None, "--classes": None, "--mean": None,
    "--std": None,
    "--interpolation": None, "--crop": None, "--precision": "fp32", "--teacher-statistics": "eval",
    "--targets": None,
    "--cache": "data/teacher_cache", "--format": "zarr", "--codec": "half", "--block": None,
    "--batch-size": 256, "--workers": None, "--device": None,
}  # fmt: skip
TRAIN = {
    "--recipe": DEFAULT_RECIPE, "--set": None, "--student": None, "--init": None,
    "--stage-modules": None, "--stages": None, "--mean": None, "--std": None, "--epochs": None,
    "--batch-size": None,
    "--lr": None, "--seed": 0, "--ema": None, "--cache": None, "--images": None, "--out": None,
    "--teacher": "cached", "--weights": None, "--device": None, "--workers": None,
    "--precision": "fp32", "--accumulate": 1, "--stage": None, "--sync-batchnorm": False,
    "--compile": False, "--checkpoint-every": 1000, "--keep": 0, "--validate-every": 1,
    "--log-every": 50,
    "--log": "jsonl", "--tensorboard": False, "--dry-run": False,
}  # fmt: skip
HELPS = {
    "precompute/run.py": [*PRECOMPUTE, "--check"],
    "precompute/verify.py": [
        "--cache", "--split", "--samples", "--repair", "--images", "--teacher",
        "--weights", "--device",
    ],
    "precompute/show.py": [
        "--cache", "--split", "--images", "--samples", "--seed", "--index", "--view", "--out",
        "--worst",
    ],
    "precompute/plan.py": [*PRECOMPUTE, "--processes", "--node-memory"],
    "precompute/classes.py": ["--cache", "--split", "--view", "--samples-per-class"],
    "precompute/convert.py": ["--cache", "--to", "--codec", "--split", "--teacher", "--weights"],
    "precompute/pack.py": [
        "--images", "--split", "--skip-bad", "--to", "--shorter-side", "--quality", "--shard-size",
        "--workers",
    ],
    "train/run.py": [*TRAIN],
    "train/eval.py": [
        "--checkpoint", "--cache", "--images", "--student", "--stem", "--stage-modules", "--size",
        "--mean", "--std", "--interpolation", "--crop", "--workers", "--device",
    ],
    "train/report.py": ["--out", "--against"],
    "train/demo.py": ["--teacher", "--out"],
}  # fmt: skip
