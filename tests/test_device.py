"""Devices: what is set and made on a GPU, seen through stand-ins for torch.cuda."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import current_thread, main_thread
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed

import shared.device
from shared.device import pick_device, side_stream, with_pixels_on
from shared.distributed import World, connect
from shared.epochs.cached_views import CachedViews
from shared.epochs.staging import device_views, views
from shared.epochs.staging.device_views import copy_aside
from shared.errors import InputError
from tests.processes import wait_until
from tests.small_cache import make_cache, make_manifest
from tests.whole_views import whole_views
from train.recipes import get_recipe

GPU = torch.device("cuda:0")


class FakeStream:
    made = 0
    calls: ClassVar[list[object]] = []

    def __init__(self, device: torch.device) -> None:
        FakeStream.made += 1

    def synchronize(self) -> None:
        FakeStream.calls.append("synchronize")

    def wait_stream(self, other: "FakeStream") -> None:
        FakeStream.calls.append(("wait", other))

    def __enter__(self) -> "FakeStream":
        return self

    def __exit__(self, *error: object) -> None: ...


@dataclass
class FakeTensor:
    """Moves anywhere and notes the streams that are told of it."""

    recorded: list[object] = field(default_factory=list)

    def to(self, device: torch.device, non_blocking: bool = False) -> "FakeTensor":
        return FakeTensor()

    def record_stream(self, stream: object) -> None:
        self.recorded.append(stream)


@dataclass
class FakeBatch:
    pixels: FakeTensor = field(default_factory=FakeTensor)


@pytest.fixture
def computing(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeStream]:
    """torch.cuda with one computing stream; the number of others made counts from 0."""
    stream = FakeStream(GPU)
    monkeypatch.setattr(torch.cuda, "Stream", FakeStream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    monkeypatch.setattr(torch.cuda, "default_stream", lambda device: stream)
    side_stream.cache_clear()
    FakeStream.made = 0
    FakeStream.calls.clear()
    yield stream
    side_stream.cache_clear()


def test_pixels_are_copied_in_one_stream_for_all_epochs(computing: FakeStream) -> None:
    for _ in range(5):
        batches = cast(Iterator[Any], iter([FakeBatch(), FakeBatch()]))
        for _, pixels in with_pixels_on(GPU, batches):
            assert cast(FakeTensor, pixels).recorded == [computing]
    assert FakeStream.made == 1, "the allocator keeps the memory of every stream"


def test_views_are_copied_in_one_stream_for_all_epochs(computing: FakeStream) -> None:
    for _ in range(5):
        there = torch.zeros(4, 2)
        copy_aside(there, 1, np.ones((2, 2), np.float32), GPU)
        assert there.sum(1).tolist() == [0, 2, 2, 0]
    assert FakeStream.made == 1
    # Steps that are queued may read what is written over; the thread that copies waits for itself.
    assert FakeStream.calls == [("wait", computing), "synchronize"] * 5
    list(with_pixels_on(GPU, cast(Iterator[Any], iter([FakeBatch()]))))
    assert FakeStream.made == 2, "a whole view does not hold up the next step's pixels"


@pytest.mark.parametrize(("name", "picked"), [("cuda:1", 1), ("cuda", 3), (None, 3)])
def test_a_gpu_that_is_picked_is_the_current_one(
    monkeypatch: pytest.MonkeyPatch, name: str | None, picked: int
) -> None:
    current: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    monkeypatch.setattr(
        shared.device.torch,
        "empty",
        lambda *_, device: SimpleNamespace(device=torch.device(device)),
    )
    device = pick_device(name, local_rank=7)
    assert current == [device] == [torch.device("cuda", picked)]


def test_a_device_is_named_as_tensors_name_theirs() -> None:
    assert pick_device("cpu:0") == torch.empty(1).device == torch.device("cpu")


def test_the_thread_that_copies_views_uses_the_gpu_of_its_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A thread begins with GPU 0: every process of eight would take half a gigabyte of it."""
    calls: list[object] = []

    def set_device(device: torch.device) -> None:
        assert current_thread() is not main_thread()
        calls.append(device)

    def copy(there: Tensor, start: int, rows: NDArray[Any], device: torch.device) -> None:
        calls.append("copy")

    monkeypatch.setattr(torch.cuda, "set_device", set_device)
    monkeypatch.setattr(device_views, "copy_aside", copy)
    monkeypatch.setattr(device_views.DeviceViews, "_place", lambda self, rows: torch.zeros(10, 12))
    monkeypatch.setattr(views, "home_of_views", lambda device, num_bytes: device)
    gpu = torch.device("cuda:1")
    manifest = make_manifest(views=1)
    plans = whole_views(manifest, lambda _: [np.arange(10)])
    recipe = replace(get_recipe("s_resnet18.t_resnet34.cd.ce"), epochs=1)
    labels = torch.zeros(10, dtype=torch.int64)
    read = CachedViews(make_cache(tmp_path, manifest), recipe, labels, True, gpu, plans)
    read.begin(0)
    wait_until(lambda: len(calls) == 1 + manifest.blocks)
    read.close()
    assert calls == [gpu, "copy", "copy", "copy"]


def test_nccl_is_told_its_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    monkeypatch.setattr(
        distributed, "init_process_group", lambda *args, **named: calls.append((args, named))
    )
    connect(World(1, 2, 1), torch.device("cuda:1"))
    connect(World(1, 2, 1), torch.device("cpu"))
    connect(World(), torch.device("cuda:1"))
    assert calls == [(("nccl",), {"device_id": torch.device("cuda:1")}), (("gloo",), {})]


def test_two_processes_on_one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise distributed.DistBackendError(
            "NCCL error in: ProcessGroupNCCL.cpp:94, invalid usage\nncclInvalidUsage: ...\n"
            "Last error:\nDuplicate GPU detected : rank 1 and rank 0 both on CUDA device 1000"
        )

    monkeypatch.setattr(distributed, "init_process_group", refuse)
    with pytest.raises(
        InputError, match=r"^two processes of this run are on one GPU, .* cuda:0: s"
    ):
        connect(World(1, 2, 1), torch.device("cuda:0"))
    monkeypatch.setattr(distributed, "init_process_group", raiser(RuntimeError("the network")))
    with pytest.raises(RuntimeError, match="the network"):
        connect(World(1, 2, 1), torch.device("cuda:1"))


def raiser(error: Exception) -> Callable[..., None]:
    def act(*_: Any, **__: Any) -> None:
        raise error

    return act


def test_every_command_calculates_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them picks its device; whatever was set before, the same kernels run after it."""
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        pick_device("cpu")
        assert not torch.backends.cudnn.benchmark and torch.backends.cudnn.allow_tf32
        assert torch.get_float32_matmul_precision() == "highest"
    finally:
        torch.set_float32_matmul_precision(before)
