"""`--help` and a mistyped flag are answered at once, before anything heavy is imported."""

import re
import subprocess
import sys

import pytest

from tests.all_flags import HELPS
from tests.processes import ROOT, Finished


def answer(script: str, *flags: str) -> Finished:
    """The command in a fresh interpreter that prints on stderr, at its end, every heavy package
    that it has imported."""
    code = (
        "import atexit, runpy, sys\n"
        "heavy = {'torch', 'torchvision', 'numpy', 'PIL', 'zarr', 'webdataset', 'matplotlib',"
        " 'tqdm', 'sklearn', 'fsspec', 'simplejpeg'}\n"
        "atexit.register(lambda: print('IMPORTED', *sorted(heavy & set(sys.modules)),"
        " file=sys.stderr))\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, script, *flags], cwd=ROOT, capture_output=True, text=True
    )
    return Finished(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("script", HELPS)
def test_help_lists_every_flag_at_once(script: str) -> None:
    done = answer(script, "--help")
    assert (done.returncode, done.stderr) == (0, "IMPORTED\n")
    listed = re.findall(r"^  (--[a-z-]+)", done.stdout, re.MULTILINE)
    assert listed == HELPS[script]


@pytest.mark.parametrize("script", HELPS)
def test_help_tells_defaults_and_two_examples(script: str) -> None:
    text = answer(script, "--help").stdout
    examples = re.findall(rf"^  (?:python|torchrun).* {script} .*", text, re.MULTILINE)
    assert len(examples) >= 2
    flags = text.partition("\n\n")[2].partition("examples:")[0]
    entries = re.split(r"\n(?=  -)", " ".join(re.split(r"\n {4,}", flags)))
    for entry in (e.split("\n\n")[0] for e in entries if e.startswith("  --")):
        has_value = re.match(r"  --[a-z-]+ [A-Z|]+", entry)
        assert not has_value or "default:" in entry or "required" in entry, entry


@pytest.mark.parametrize("script", HELPS)
def test_an_unknown_flag_is_one_line(script: str) -> None:
    required = {
        "precompute/run.py": ["--split", "train"],
        "precompute/plan.py": ["--split", "train"],
        "precompute/convert.py": ["--to", "x", "--codec", "tiny"],
        "precompute/pack.py": ["--to", "x", "--split", "train"],
        "train/eval.py": ["--checkpoint", "x"],
        "train/report.py": ["x"],
        "train/demo.py": ["x", "--teacher", "x"],
    }
    last = HELPS[script][-1]
    mistyped = last[:-1] + "x"
    done = answer(script, *required.get(script, []), mistyped)
    assert done.returncode == 2 and done.stdout == ""
    line, imported = done.stderr.splitlines()
    assert line == f"error: there is no flag {mistyped}: did you mean {last}? --help lists all"
    assert imported == "IMPORTED"


@pytest.mark.parametrize(
    ("script", "flags", "line"),
    [
        (
            "precompute/run.py",
            ["--split", "train", "--codec", "hlaf"],
            "--codec has no choice 'hlaf': did you mean half? The choices are exact, half, "
            "compact, tiny",
        ),
        (
            "precompute/run.py",
            ["--split", "train", "--views", "many"],
            "the flags cannot be used: argument --views: invalid int value: 'many'; --help lists "
            "all flags",
        ),
        (
            "precompute/run.py",
            [],
            "the flags cannot be used: the following arguments are required: --split; --help "
            "lists all flags",
        ),
        (
            "train/run.py",
            ["--recipe", "resnet18.cd"],
            "there is no recipe 'resnet18.cd': did you mean resnet18.ce? --help lists all recipes",
        ),
        (
            "train/run.py",
            ["--epoch", "3"],  # no abbreviation, which would hide a mistyped flag
            "there is no flag --epoch: did you mean --epochs? --help lists all",
        ),
    ],
)
def test_a_mistake_is_one_line(script: str, flags: list[str], line: str) -> None:
    done = answer(script, *flags)
    assert done.returncode == 2
    assert done.stderr == f"error: {line}\nIMPORTED\n"
