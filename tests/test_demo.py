"""train/demo.py: what it says of runs follows from their metrics, whichever side is ahead."""

import json
from pathlib import Path

import pytest
from PIL import Image

from shared.errors import InputError
from tests.helpers import require_refused, run
from train.demo_picture import comparison


def write_run(path: Path, recipe: str, seed: int, top1: list[float], samples: int = 200) -> Path:
    """A finished run, validated every second epoch."""
    path.mkdir(parents=True)
    model = {
        "architecture": "cifar_resnet8", "stem": "cifar", "classes": 10, "size": 32,
        "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2],
    }  # fmt: skip
    identity = {"recipe": recipe, "teacher": "cached", "seed": seed}
    facts = {"identity": identity, "epochs": 2 * len(top1), "cache": None, "model": model}
    (path / "run.json").write_text(json.dumps(facts))
    records = []
    for epoch in range(2 * len(top1)):
        common = {"epoch": epoch, "top1": 50.0, "top5": 90.0, "seconds": 1.0}
        common["images_per_second"] = 100.0
        terms = {"loss": {"ce": 1.0}, "weight": {"ce": 1.0}, "samples": samples}
        records.append({**common, "split": "train", **terms})
        if epoch % 2:
            records.append({**common, "split": "val", "top1": top1[epoch // 2]})
    (path / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    return path


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    return write_run(tmp_path / "teacher", "t", 0, [50.0, 98.6], samples=1442)


def students(root: Path, name: str, *last: float) -> list[Path]:
    return [
        write_run(root / f"{name}-{seed}", name, seed, [99.0, value])  # the last one counts
        for seed, value in enumerate(last)
    ]


def test_the_picture_and_what_is_said(tmp_path: Path, teacher: Path) -> None:
    runs = [
        *students(tmp_path, "ce", 88.0, 90.0),
        *students(tmp_path, "ce+kd", 90.0),
        *students(tmp_path, "rcd+gkd", 94.0, 96.0),
    ]
    out = tmp_path / "demo.png"
    done = run("train/demo.py", *runs, "--teacher", teacher, "--out", out)
    lines = done.stdout.splitlines()
    assert [line.split("  ")[0] for line in lines[:5]] == [
        *("run", "CE", "CE + KD-0", "RCD + GKD", "teacher, of 1,442 images"),
    ]
    assert lines[1].endswith("  89.00 ± 1.41%") and lines[3].endswith("  95.00 ± 1.41%")
    assert lines[6:8] == [
        "With labels alone (CE) the student gets 89.0% of the val images right, with the cached "
        "teacher (RCD + GKD) 95.0%, on the same 200 images in the same 4 epochs: 6.0 points more, "
        "and every seed ends above all seeds without it (mean of 2 seeds).",
        "The teacher learned from 1,442 images and gets 98.6% right; it ran once to fill the "
        "cache, and no student ran it again.",
    ]
    assert lines[-1] == f"picture  {out}"
    assert out.stat().st_size < 150_000
    with Image.open(out) as image:
        assert image.width > 1000 and len(image.convert("RGB").getcolors(1 << 24) or ()) > 50


@pytest.mark.parametrize(
    ("distilled", "said"),
    [
        ((87.0, 88.5), "1.2 points less, so this time distillation did not help (mean of 2 seeds)"),
        ((89.0, 95.0), "3.0 points more, but not for every seed (mean of 2 seeds)"),
        ((95.0,), "6.0 points more."),
    ],
)
def test_a_gain_is_claimed_only_where_there_is_one(
    tmp_path: Path, teacher: Path, distilled: tuple[float, ...], said: str
) -> None:
    runs = [*students(tmp_path, "ce", 88.0, 90.0), *students(tmp_path, "rcd", *distilled)]
    assert f": {said}" in comparison([*runs], teacher).sentences()[0]


def test_runs_that_cannot_be_compared(tmp_path: Path, teacher: Path) -> None:
    plain = students(tmp_path, "ce", 88.0)
    with pytest.raises(InputError, match="runs of two recipes are needed to compare them"):
        comparison([*plain], teacher)
    young = write_run(tmp_path / "young", "rcd", 0, [90.0])
    text = (young / "run.json").read_text()
    (young / "run.json").write_text(text.replace('"epochs": 2', '"epochs": 3'))
    with pytest.raises(InputError, match=r"young has not finished its 3 epochs: start its train/"):
        comparison([*plain, young], teacher)


def test_a_picture_that_cannot_be_written(tmp_path: Path, teacher: Path) -> None:
    runs = [*students(tmp_path, "ce", 88.0), *students(tmp_path, "rcd", 95.0)]
    out = tmp_path / "nowhere" / "demo.png"
    done = run("train/demo.py", *runs, "--teacher", teacher, "--out", out, check=False)
    require_refused(done, f"the picture cannot be written to --out {out}")
