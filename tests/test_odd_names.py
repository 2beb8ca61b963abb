"""Names of files in messages: none hides a line or ends a run."""

import os
from pathlib import Path

import pytest

from shared.errors import printable
from tests.helpers import (
    STUDENT,
    TEACHER,
    require_refused,
    run,
    run_precompute,
    write_image_folder,
    write_teacher,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, ümlaut, 猫", "plain, ümlaut, 猫"),
        ("a\nerror: b", "a\\nerror: b"),
        ("\x1b[31mred\r", "\\x1b[31mred\\r"),
        ("\udcff", "\\udcff"),
        ("\u202egnp", "\\u202egnp"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown
    shown.encode()


NAME = b"\x1b[31m\xff\nerror: all is well.jpg"  # escapes, no UTF-8, a line of its own


@pytest.fixture
def odd_names(tmp_path: Path) -> Path:
    write_image_folder(tmp_path / "images", classes=2, train=3, val=1)
    write_teacher(tmp_path / "teacher.pt", "cifar_resnet20", 2)
    bad = os.fsencode(tmp_path / "images/train/class0") + b"/" + NAME
    Path(os.fsdecode(bad)).write_bytes(b"no image")
    return tmp_path


@pytest.mark.parametrize("workers", [0, 1])
def test_a_name_hides_no_rule_and_ends_no_run(odd_names: Path, workers: int) -> None:
    flags = (
        *("--images", odd_names / "images", "--weights", odd_names / "teacher.pt", "--views", 1),
        *(*TEACHER, "--size", 32, "--cache", odd_names / "cache"),
        *("--workers", workers),
    )
    done = run_precompute(*flags, check=False)
    require_refused(done, " does not decode (", r"class0/\x1b[31m\udcff\nerror: all is well")
    done = run_precompute(*flags, "--skip-bad", 0.2, check=False)
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr
    assert r"skipped class0/\x1b[31m\udcff\nerror: all is well.jpg: " in done.stdout
    packed = run(
        *("precompute/pack.py", "--images", odd_names / "images", "--split", "train"),
        *("--to", odd_names / "packed", "--workers", workers, "--skip-bad", 0.2),
    )
    assert r"skipped class0/\x1b[31m\udcff\nerror" in packed.stdout
    out = Path(os.fsdecode(os.fsencode(odd_names) + b"/run\xff$x_$"))
    done = run(
        *(
            "train/run.py",
            *STUDENT,
            "--cache",
            odd_names / "cache",
            "--epochs",
            1,
            "--batch-size",
            4,
        ),
        *("--lr", 0.01, "--workers", workers, "--out", out),
    )
    assert done.stderr == "" and (out / "done").exists()
