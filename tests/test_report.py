"""The table over runs: seeds share a row, with mean and sample deviation."""

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.helpers import require_refused, run
from train.recipes import get_recipe


def write_run(path: Path, recipe: str, seed: int, top1: list[float]) -> Path:
    path.mkdir(parents=True)
    identity = {"recipe": recipe, "teacher": "cached", "seed": seed}
    cache = {"where": "here", "codec": "half", "bytes_per_view": 1234.5}
    (path / "run.json").write_text(json.dumps({"identity": identity, "epochs": 5, "cache": cache}))
    records = []
    for epoch, value in enumerate(top1):
        train = {"epoch": epoch, "split": "train", "top1": value, "top5": 90.0, "seconds": 1.0}
        terms = {"loss": {"ce": 1.0, "cd": 2.0}, "weight": {"ce": 1.0, "cd": 6.0}}
        records.append({**train, **terms, "images_per_second": 100.0 + seed})
        records.append({**train, "split": "val", "images_per_second": 7.0})
    (path / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    return path


def without_val(path: Path, kept: dict[int, float]) -> Path:
    """Leaves the val records of some epochs, with top-1 of the raw weights."""
    lines = []
    for line in (path / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record["split"] == "val":
            if record["epoch"] not in kept:
                continue
            record["raw"] = {"top1": kept[record["epoch"]], "top5": 80.0}
        lines.append(json.dumps(record) + "\n")
    (path / "metrics.jsonl").write_text("".join(lines))
    return path


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_seeds_share_a_row(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / f"cd-{seed}", "cd", seed, [50, value, last])
        for seed, (value, last) in enumerate([(71, 70), (72, 72), (60, 74)])
    ]
    runs.append(write_run(tmp_path / "plain", "ce", 0, [30, 40]))
    done = run("train/report.py", *runs, "--out", tmp_path / "report.png")
    head, _, seeds, plain, *_ = done.stdout.splitlines()
    assert cells(head)[:5] == ["run", "seeds", "teacher", "epochs", "val top-1, last"]
    # deviation of 70, 72, 74: sqrt((4 + 0 + 4) / 2) = 2; of 71, 72, 74: sqrt(7 / 3) = 1.53
    assert cells(seeds) == [
        *("cd", "3", "cached", "3 of 5", "72.00 ± 2.00%", "72.33 ± 1.53%"),
        *("90.00 ± 0.00%", "101", "1,234 (half)", "-"),
    ]
    assert cells(plain)[:6] == ["plain", "1", "cached", "2 of 5", "40.00%", "40.00%"]
    with Image.open(tmp_path / "report.png") as image:
        assert image.width > 1000 and len(image.convert("RGB").getcolors(1 << 24) or ()) > 50


def test_epochs_without_val_and_raw_weights(tmp_path: Path) -> None:
    """Best is the best of the validated epochs; a run without one has no top-1 yet."""
    runs = [
        without_val(write_run(tmp_path / "ema-0", "a", 0, [90, 70, 99, 60]), {1: 65, 3: 59}),
        without_val(write_run(tmp_path / "ema-1", "a", 1, [90, 72, 99, 62]), {1: 67, 3: 61}),
        without_val(write_run(tmp_path / "young", "b", 0, [50, 50]), {}),
        write_run(tmp_path / "plain", "c", 0, [40]),
    ]
    done = run("train/report.py", *runs, "--out", tmp_path / "report.png")
    head, _, *rows = map(cells, done.stdout.splitlines()[:5])
    assert head[3:8] == ["epochs", "val top-1, last", "best", "raw weights", "val top-5, last"]
    assert [row[3:7] for row in rows] == [
        ["4 of 5", "61.00 ± 1.41%", "71.00 ± 1.41%", "60.00 ± 1.41%"],
        ["2 of 5", "-", "-", "-"],
        ["1 of 5", "40.00%", "40.00%", "-"],
    ]


def test_a_recipe_without_teacher_terms_has_none(tmp_path: Path) -> None:
    """Whatever --teacher was: with a cache the flag only says whose views are replayed."""
    ce, cd = (repr(get_recipe(name)) for name in ("resnet18.ce", "s_resnet18.t_resnet34.cd.ce"))
    runs = [write_run(tmp_path / name, name_of, 0, [5]) for name, name_of in (("a", ce), ("b", cd))]
    done = run("train/report.py", *runs, "--out", tmp_path / "report.png")
    assert [cells(line)[2] for line in done.stdout.splitlines()[2:4]] == ["none", "cached"]


def test_runs_that_are_not_comparable_are_marked(tmp_path: Path) -> None:
    """Of other images, other val images or views of them, other epochs; one that does not tell is
    not marked."""
    facts = {
        "usual": ("i", "v", "p", 5), "silent": (None, None, None, 5), "usual2": ("i", "v", "p", 5),
        "images": ("j", "v", "p", 5), "val": ("i", "w", "p", 5), "both": ("i", "w", "p", 9),
        "views": ("i", "v", "q", 5),
    }  # fmt: skip
    runs = []
    for name, (images, val, policy, epochs) in facts.items():
        runs.append(write_run(tmp_path / name, f"recipe of {name}", 0, [50]))
        text = json.loads((runs[-1] / "run.json").read_text())
        text["identity"] |= {"images": images, "val": val, "val_policy": policy}
        (runs[-1] / "run.json").write_text(json.dumps({**text, "epochs": epochs}))
    done = run("train/report.py", *runs, "--out", tmp_path / "report.png")
    lines = done.stdout.splitlines()
    assert [cells(line)[0] for line in lines[2:9]] == [
        "usual", "silent", "usual2", "images*", "val†", "both†‡", "views§"
    ]  # fmt: skip
    assert lines[9:14] == [
        "",
        "* not comparable with the other runs: other training images",
        "† not comparable with the other runs: other val images",
        "‡ not comparable with the other runs: another number of epochs",
        "§ not comparable with the other runs: other views of the val images",
    ]
    done = run("train/report.py", *runs[:3], "--out", tmp_path / "report.png")
    assert "not comparable" not in done.stdout


def test_kinds_of_one_name_both_stay(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / recipe / "run", recipe, 0, [50]) for recipe in ("a", "b")]
    done = run("train/report.py", *runs, "--out", tmp_path / "report.png")
    assert [cells(line)[0] for line in done.stdout.splitlines()[2:4]] == ["run", str(runs[1])]


@pytest.mark.parametrize("made", [False, True])
def test_a_run_without_an_epoch_is_refused(tmp_path: Path, made: bool) -> None:
    if made:
        write_run(tmp_path / "run", "cd", 0, [])
    done = run("train/report.py", tmp_path / "run", "--out", tmp_path / "x.png", check=False)
    require_refused(done, "finished epochs" if made else "is not a run folder: it does not exist")
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize(
    ("out", "reason"),
    [
        ("nowhere/x.png", "No such file or directory"),
        ("folder.png", "Is a directory"),
        ("x.txt2", "Format 'txt2' is not supported"),
        ("nowhere/x.html", "No such file or directory"),
    ],
)
def test_curves_that_cannot_be_written_are_one_line(tmp_path: Path, out: str, reason: str) -> None:
    """Like the default, runs/report.png, where no folder runs/ exists."""
    (tmp_path / "folder.png").mkdir()
    there = write_run(tmp_path / "run", "cd", 0, [50])
    done = run("train/report.py", there, "--out", tmp_path / out, check=False)
    require_refused(done, f"cannot be written to --out {tmp_path / out} ({reason}", "give a PNG")
