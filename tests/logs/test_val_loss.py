"""The val loss, cross-entropy: its value, where there is none, and runs without it."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

from tests.helpers import run
from tests.logs.conftest import MORE
from tests.resuming import flags
from tests.runs import metrics
from tests.test_evaluate_all import CPU, PLAIN, batches, models
from train.accuracy import Labelled, evaluate
from train.run_files import read_metrics


def test_it_is_the_mean_over_the_images_that_decode() -> None:
    model = models()[0].eval()
    logits, labels = [], []
    for pixels, truth in batches():
        with torch.no_grad():
            logits.append(model(PLAIN(pixels))[truth >= 0].double())
        labels.append(truth[truth >= 0])
    expected = cross_entropy(torch.cat(logits), torch.cat(labels))
    found = evaluate(model, batches(), PLAIN, CPU)
    assert found.undecodable == 2 and found.samples == len(torch.cat(labels)) + 2
    assert found.cross_entropy == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("broken", ["no image decodes", "the weights are not finite"])
def test_it_may_be_missing(broken: str) -> None:
    """JSON has no NaN, and a run that cannot be read could not be resumed."""
    model = models()[0]
    given = list(batches())
    if broken == "no image decodes":
        given = [Labelled(pixels, torch.full_like(labels, -1)) for pixels, labels in given]
    else:
        with torch.no_grad():
            model.fc.bias[2] = float("nan")
    assert evaluate(model, iter(given), PLAIN, CPU).cross_entropy is None


def test_a_run_of_an_earlier_version_goes_on_and_is_reported(
    cache: Path, whole: Path, tmp_path: Path
) -> None:
    """Begun without val loss and time left; its last epoch has them."""
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    shutil.copy(out / "epochs/epoch-0001.pt", out / "last.pt")
    (out / "done").unlink()
    old = [record for record in read_metrics(whole) if record["epoch"] < 2]
    for record in old:
        for name in ("cross_entropy", "seconds_left"):
            record.pop(name, None)
            record.get("raw", {}).pop(name, None)
    (out / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in old))
    run("train/run.py", *flags(cache, out, "cached"), *MORE, "--log", "csv")
    assert read_metrics(out)[: len(old)] == old
    assert metrics(out)[len(old) :] == metrics(whole)[len(old) :]
    told = run("train/report.py", out, "--out", tmp_path / "report.png").stdout
    assert f"{read_metrics(out)[-1]['cross_entropy']:.4f}" in told
