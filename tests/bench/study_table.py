"""The tables of tests/bench/study.py, from the metrics.jsonl of its runs, as Markdown."""

from collections.abc import Sequence
from pathlib import Path

from train.recipes import get_recipe
from train.reported import in_words
from train.run_files import read_metrics


def print_tables(
    runs: Path, losses: Sequence[str], paired: Sequence[str], views: Sequence[int]
) -> None:
    print("| recipe | top-1, last epoch | seeds | live | published |\n|---|---:|---:|---:|---:|")
    for recipe in losses:
        error = get_recipe(recipe).paper_top1_error
        cached, live = tops(runs, recipe), tops(runs, f"{recipe}.live")
        print(
            f"| {recipe} | {told(cached)} | {len(cached)} | {told(live)} | "
            f"{'' if error is None else f'{100 - error:.2f}'} |"
        )
    print("\n| views an image |", " | ".join(map(str, views)), "|")
    print("|---|" + "---:|" * len(views))
    for recipe in paired:
        found = [tops(runs, f"{recipe}.k{k}") for k in views]
        print(f"| {recipe} |", " | ".join(map(told, found)), "|")


def tops(runs: Path, name: str) -> list[float]:
    """Top-1 in percent after the last epoch, for every seed whose run is done."""
    folders = sorted(runs.glob(f"{name}.s[0-9]*"))
    return [_last(folder) for folder in folders if (folder / "done").is_file()]


def _last(folder: Path) -> float:
    found: float = [r["top1"] for r in read_metrics(folder) if r["split"] == "val"][-1]
    return found


def told(values: list[float]) -> str:
    return in_words(values, "", 1) if values else ""
