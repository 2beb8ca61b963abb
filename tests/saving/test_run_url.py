"""Run folders in an object store: train, kill, resume elsewhere, evaluate, report."""

import io
import json
import shutil
import signal
from pathlib import Path

import pytest
import torch
from PIL import Image

from shared.errors import InputError
from tests.fault_proxy import Fault, FaultProxy
from tests.helpers import require_refused, run
from tests.processes import Finished, start, wait_until
from tests.resuming import flags
from tests.runs import FILES, load, metrics, require_same_run
from tests.s3 import ALWAYS, environment, new_url, stored
from train.flags import make_parser
from train.recipes import get_recipe
from train.setup import run_location


def on_s3(proxy: FaultProxy, script: str, *arguments: object, check: bool = True) -> Finished:
    return run("tests/impatient.py", script, *arguments, check=check, **environment(proxy.url))


def asked(proxy: FaultProxy, name: str) -> bool:
    """Whether an upload of this file has begun."""
    return any(method == "PUT" and path.endswith(name) for method, path in [*proxy.requests])


def copied(server: int, url: str, folder: Path) -> Path:
    for name, data in stored(server, url).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def test_a_run_at_a_url_is_the_one_on_a_disk(
    proxy: FaultProxy, server: int, cache: Path, whole: Path, tmp_path: Path
) -> None:
    """Killed while it uploads an epoch and started again, with a fault every few requests."""
    url = new_url()
    command = (
        *(*flags(cache, Path("out"), "cached"), "--ema", 0.5, "--keep", 2),
        *("--out", url, "--log", "csv"),
    )
    process = start("tests/impatient.py", "train/run.py", *command, **environment(proxy.url))
    wait_until(lambda: asked(proxy, "epochs/epoch-0000.pt") or not process.alive)
    process.signal(signal.SIGKILL)
    killed = process.wait()
    assert killed.returncode == -signal.SIGKILL, killed
    proxy.faults += [Fault("status", 503, ALWAYS, every=11), Fault("drop", 99, ALWAYS, every=7)]
    done = on_s3(proxy, "train/run.py", *command)
    assert f"{url}: going on at epoch " in done.stdout and f"run      {url}" in done.stdout
    assert done.stderr == "" and sum(fault.hits for fault in proxy.faults) > 3
    mine = copied(server, url, tmp_path / "run")
    kept = ["epochs/epoch-0001.pt", "epochs/epoch-0002.pt"]
    assert sorted(stored(server, url)) == sorted([*FILES, "metrics.csv", *kept])
    rows = (mine / "metrics.csv").read_text().splitlines()
    assert [row.partition(",")[0] for row in rows] == ["epoch", "0", "1", "2"]
    for folder in (mine, whole):
        assert load(folder / kept[1])["epoch"] == 3
    assert metrics(mine) == metrics(whole)
    assert torch.equal(*(load(f / "best.pt")["fc.weight"] for f in (mine, whole)))
    with Image.open(io.BytesIO(stored(server, url)["curves.png"])) as image:
        assert image.width > 1000


@pytest.mark.slow
def test_what_else_reads_a_run_at_a_url(
    proxy: FaultProxy, server: int, cache: Path, whole: Path, tmp_path: Path
) -> None:
    url = new_url()
    done = on_s3(
        *(proxy, "train/run.py", *flags(cache, Path("out"), "cached")),
        *("--ema", 0.5, "--keep", 2, "--out", url),
    )
    assert done.stderr == ""
    for name in ("best.pt", "last.pt", "epochs/epoch-0001.pt"):
        command = ("train/eval.py", "--checkpoint", f"{url}/{name}")
        assert on_s3(proxy, *command).stdout == run(*command[:2], whole / name).stdout
    mine = copied(server, url, tmp_path / "run")
    report = ("train/report.py", "--out", tmp_path / "report.png")
    remote, local = on_s3(proxy, *report, url).stdout, run(*report, mine).stdout
    rows = [text.splitlines()[2].split("|") for text in (remote, local)]
    assert rows[0][1].strip() == url.rpartition("/")[2] and rows[0][2:] == rows[1][2:]
    other = on_s3(proxy, "train/run.py", *flags(cache, Path("out"), "none"), "--out", url,
                  check=False)  # fmt: skip
    require_refused(other, f"{url} holds another run: its recipe differs")


@pytest.mark.slow
def test_a_run_moves_between_disk_and_store(
    proxy: FaultProxy, server: int, cache: Path, whole: Path, tmp_path: Path
) -> None:
    """Stopped by SIGTERM at the URL, it goes on from a copy on a disk."""
    url = new_url()
    command = (*flags(cache, Path("out"), "cached"), "--ema", 0.5, "--keep", 1)
    process = start(
        *("tests/impatient.py", "train/run.py", *command, "--out", url), **environment(proxy.url)
    )
    wait_until(lambda: asked(proxy, "epochs/epoch-0000.pt") or not process.alive)
    process.signal(signal.SIGTERM)
    assert process.wait().returncode == 128 + signal.SIGTERM
    out = copied(server, url, tmp_path / "run")
    run("train/run.py", *command, "--out", out)
    expected = tmp_path / "expected"
    expected.mkdir()
    for name in FILES:
        (expected / name).write_bytes((whole / name).read_bytes())
    shutil.rmtree(out / "epochs")
    require_same_run(out, expected)


@pytest.mark.parametrize(
    ("out", "named"),
    [
        ("s3://", "--out must name a bucket, like s3://bucket/folder: got s3://"),
        ("tape://x", "there is no fsspec driver for tape://x"),
        ("s3://bucket/run", "--log tensorboard appends to its files"),
    ],
)
def test_urls_that_cannot_be_a_run_folder(out: str, named: str) -> None:
    flags = make_parser().parse_args(["--out", out, "--tensorboard"])
    with pytest.raises(InputError, match=named):
        run_location(flags, get_recipe(flags.recipe))


@pytest.mark.slow
def test_what_is_refused(proxy: FaultProxy, server: int, cache: Path, tmp_path: Path) -> None:
    command = (*flags(cache, Path("out"), "cached"), "--out", "s3://none/x")
    require_refused(
        on_s3(proxy, "train/run.py", *command, check=False),
        "s3://none/x/run.json cannot be written, as there is no such bucket",
    )
    url = new_url()
    evaluation = ("train/eval.py", "--checkpoint", f"{url}/best.pt")
    require_refused(
        on_s3(proxy, *evaluation, check=False),
        f"--checkpoint must be a file, a run's best.pt or last.pt: {url}/best.pt does not exist",
    )
    require_refused(
        on_s3(proxy, "train/report.py", url, "--out", tmp_path / "report.png", check=False),
        f"{url} is not a run folder: it has no run.json; give a folder that train/run.py wrote",
    )


@pytest.mark.slow
def test_a_store_that_dies_ends_the_run(
    proxy: FaultProxy, server: int, cache: Path, whole: Path
) -> None:
    """While a checkpoint is uploaded: one line; the one before it is whole, and serves."""
    url = new_url()
    command = (*flags(cache, Path("out"), "cached"), "--ema", 0.5, "--out", url)
    uploads = []

    def third_checkpoint(method: str, path: str) -> bool:
        if method == "PUT" and "/last.pt" in path:
            uploads.append(path)
        return len(uploads) > 2

    proxy.faults.append(Fault("drop upload", 5000, ALWAYS, wants=third_checkpoint))
    done = on_s3(proxy, "train/run.py", *command, check=False)
    require_refused(done, "error: the store does not answer", f"{url}/last.pt", "same command")
    proxy.reset()
    assert json.loads(stored(server, url)["metrics.jsonl"].splitlines()[-1])["epoch"] == 0
    on_s3(proxy, "train/run.py", *command)
    last = torch.load(io.BytesIO(stored(server, url)["last.pt"]), weights_only=True)
    expected = load(whole / "last.pt")["student"]
    assert all(torch.equal(last["student"][name], expected[name]) for name in expected)
