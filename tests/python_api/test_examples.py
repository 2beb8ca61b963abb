"""The example, the loss of this repository and the notebook of docs/ run as they are written."""

import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from shared.cache import TeacherCache
from tests.python_api.conftest import Made
from tests.python_api.notebook import cells, executed
from train.batch import Batch, StudentOutputs
from train.losses.kd import KD

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "python.md"


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def test_the_example(digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    block = blocks(PAGE)[0]
    assert "mobilenet_v3_small(" in block
    for old, new in (("data/teacher_cache", str(digits)), ("EPOCHS, T = 30", "EPOCHS, T = 1")):
        assert block.count(old) == 1
        block = block.replace(old, new)
    exec(compile(block, str(PAGE), "exec"), {"__name__": "__main__"})
    assert re.fullmatch(r"epoch 0: val top-1 \d+\.\d %\n", capsys.readouterr().out)


def test_the_readme_has_the_same_example() -> None:
    block = blocks(PAGE)[0]
    assert block in blocks(ROOT / "README.md")
    assert len(block.splitlines()) <= 28 and max(map(len, block.splitlines())) <= 100


def test_losses_of_this_repository(made: Made) -> None:
    _, block, _ = blocks(PAGE)
    cache = TeacherCache(made("zarr"))
    _, labels, targets = next(iter(cache.loader(epoch=0, batch_size=9)))
    logits = torch.randn(targets.logits.shape, generator=torch.Generator().manual_seed(0))
    names: dict[str, Any] = {"logits": logits, "labels": labels, "targets": targets}
    exec(block, names)
    part = targets.guided
    some = Batch.with_targets(labels[part], {"logits": targets.logits[part]})
    assert 0 < len(some.labels) < len(labels)
    alone = KD(temperature=4.0)(StudentOutputs(logits[part], ()), some)
    assert names["loss"].item() == pytest.approx(alone.item(), rel=1e-6)


def test_the_notebook_in_this_process(
    digits: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All cells but the one that makes the cache."""
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.chdir(ROOT)
    path, imports, make, *others = cells(ROOT / "docs" / "own_loop.ipynb")
    assert "precompute/run.py" in make
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(path, names)
    exec(imports, names)
    names.update(FOLDER=digits.parent, EPOCHS=1)
    for cell in others:
        exec(cell, names)
    out = capsys.readouterr().out
    assert "steps 6 to 7 of epoch 1 are the same" in out and "256 samples in 4 batches" in out


@pytest.mark.slow
def test_the_notebook_in_a_kernel(tmp_path: Path) -> None:
    for name in ("precompute", "train", "shared"):
        os.symlink(ROOT / name, tmp_path / name)
    path = tmp_path / "own_loop.ipynb"
    shutil.copy(ROOT / "docs" / "own_loop.ipynb", path)
    said = executed(path)
    assert "steps 6 to 9 of epoch 1 are the same" in said
    last = re.findall(r"epoch 2: loss [\d.]+, val top-1 (\d+)%", said)
    assert len(last) == 1 and int(last[0]) > 50
    assert not list(ROOT.glob("runs/own_loop"))


def test_the_notebook_holds_no_outputs() -> None:
    text = (ROOT / "docs" / "own_loop.ipynb").read_text()
    assert text.count('"outputs": []') == len(cells(ROOT / "docs" / "own_loop.ipynb"))
    assert text.count('"execution_count": null') == text.count('"cell_type": "code"')
    assert "/tmp/" not in text and "/home/" not in text
