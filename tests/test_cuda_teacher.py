"""On a real GPU: what the teacher said is verified, and it says it again, bit for bit."""

import pytest
import torch

from precompute.compare import NOISE
from shared.images.source import open_source
from shared.store.live_teacher import cached_teacher
from shared.store.opening import open_cache
from shared.store.stored_views import stored_views
from shared.targets.targets import Targets, on_cpu
from tests.helpers import run
from tests.on_gpu import BATCH, DEVICE, SAMPLES, Made, make_caches, needs_gpu, setup_of
from tests.said import stages_of
from train.input import open_input

pytestmark = needs_gpu
WIDTHS = (64, 128, 256, 512)  # of the teacher's stages
# cuDNN takes other kernels for few rows: on an H200 they were beyond NOISE (2e-3) in a batch of 7;
# TF32 rounds to 2**-11 of a value in each of some twenty layers.
SMALL_BATCH = 20 * 2**-11


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_caches(tmp_path_factory.getbasetemp())


@pytest.mark.parametrize("store", ["zarr", "webdataset"])
def test_what_precompute_made_here_is_verified(made: Made, store: str) -> None:
    cache = open_cache(str(made.folder / store), "train")
    devices = {cache.receipt(*unit).arithmetic.device for unit in cache.units()}  # type: ignore[union-attr]
    assert devices == {torch.cuda.get_device_name()}
    done = run("precompute/verify.py", "--cache", made.folder / store, "--device", DEVICE)
    assert done.stdout.endswith(": verified\n") and done.stderr == ""


def require_said(cached: Targets, live: Targets, noise: float) -> None:
    """Logits and each stage's means, to a share of the largest of their row."""
    stages = zip(stages_of(cached, WIDTHS), stages_of(live, WIDTHS), strict=True)
    for mine, theirs in ((cached["logits"], live["logits"]), *stages):
        error = (mine - theirs).abs() / theirs.abs().amax(1, keepdim=True).clamp(min=1e-6)
        wrong = int((error > noise).any(1).sum())
        assert wrong == 0, f"{wrong} of {len(mine)} rows differ, by {error.max():.2e} of the row"


@pytest.mark.parametrize(
    ("batch_size", "noise"), [(BATCH, 0.0), (7, SMALL_BATCH), (256, NOISE["fp32"])]
)
def test_the_cache_holds_what_the_live_teacher_says(
    made: Made, batch_size: int, noise: float
) -> None:
    """In batches as precompute's, bit for bit; in others, kernels sum in another order."""
    cache = open_cache(str(made.folder / "zarr"), "train")
    device = torch.device(DEVICE)
    source = open_source("digits", "train")
    teacher = cached_teacher(cache.manifest, None, device)
    samples = cache.manifest.samples_of(0)
    stored = cache.read_block(1, 0, ["logits", "channels"])  # in codec exact: the targets
    for first in range(0, 4 * BATCH, batch_size):
        rows = slice(first, first + batch_size)
        pixels = torch.stack([*stored_views(cache, 1, source, samples[rows].tolist()).values()])
        live = teacher(pixels.to(device))
        cached = {name: torch.from_numpy(values[rows]) for name, values in stored.items()}
        require_said(cached, on_cpu(live), noise)


def test_a_step_gets_the_same_from_the_cache_and_from_a_live_teacher(made: Made) -> None:
    """In other company than precompute had, but in batches of the same size: bit for bit."""
    feeds = []
    for teacher in ("cached", "live"):
        setup = setup_of(made, "--batch-size", BATCH, "--teacher", teacher, "--epochs", 1)
        feeds.append(open_input(setup))
    seen = 0
    for (pixels, cached), (same, live) in zip(*(feed.batches(0) for feed in feeds), strict=True):
        assert torch.equal(pixels, same) and torch.equal(cached.labels, live.labels)
        assert cached.targets is not None and live.targets is not None
        assert {value.device.type for value in (pixels, *cached.targets.values())} == {DEVICE}
        assert cached.guided is not None and live.guided is not None
        whole_batch = len(pixels) == BATCH
        require_said(cached.targets, live.targets, 0.0 if whole_batch else NOISE["fp32"])
        assert torch.equal(cached.guided, live.guided) or not whole_batch
        seen += len(pixels)
    assert seen == SAMPLES
    for feed in feeds:
        feed.close()
