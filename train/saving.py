"""Saves a run in a background thread while its steps go on.

    with Saver(folder, stop, device, keep) as saver:
        saver.save(state)          # returns as soon as the state is copied
        saver.check()              # every step: raises the error of a save that failed

1. `save` waits for the save before it, so at most one is in flight, and copies the state: on a GPU
   into pinned memory in a stream of its own, for which only the GPU's next step waits; on a CPU as
   clones. What is written is therefore the state at the time of the call.
2. A thread writes best.pt, metrics.jsonl, the epoch's own file and last.pt, in this order. Each
   replaces the file before it when it is whole on the disk. A process that is killed in between has
   the last.pt before it, from which the same epoch is finished again.
3. Its error is raised in the main thread, at the next `check` or `save` or at the end.

Memory on the host: one copy of the state; on a GPU torch keeps its pinned memory for the next save
and rounds each tensor up to a power of two. While a URL is written, one more, the file's bytes.
"""

from collections.abc import Callable
from threading import Thread
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from shared.stop import StopRequest
from train.folder import RunFolder
from train.resume import Records
from train.serialise import with_tensors


class Saver:
    """For the main thread of the process that writes. `keep`: of RunFolder.save_checkpoint."""

    def __init__(
        self, folder: RunFolder, stop: StopRequest, device: torch.device, keep: int
    ) -> None:
        self._folder, self._stop, self._keep = folder, stop, keep
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._thread: Thread | None = None
        self._error: Exception | None = None

    def __enter__(self) -> "Saver":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._join()
        if error is None:
            self.check()

    def save(
        self,
        last: dict[str, Any],
        best: dict[str, Tensor] | None = None,
        records: Records | None = None,
    ) -> None:
        """Saves `last` as last.pt, and before it `best` and the metrics if they are new.

        Raises the error of the save before."""
        self.wait()
        (last, best), ready = copies((last, best), self._stream)
        records = None if records is None else [*records]

        def write() -> None:
            try:
                ready()
                if best is not None:
                    self._folder.save("best.pt", best)
                if records is not None:
                    self._folder.write_metrics(records)
                self._folder.save_checkpoint(last, self._keep)
            except Exception as error:
                self._error = error  # and the work stays unsaved, so that a signal does not end it
            else:
                self._stop.saved()

        self._stop.saving()
        thread = Thread(target=write, name="saves the run")
        thread.start()
        self._thread = thread

    def check(self) -> None:
        """Raises the error of a save that has failed."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def wait(self) -> None:
        """Waits for the save in flight. Raises its error."""
        self._join()
        self.check()

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None


def copies(value: Any, stream: torch.cuda.Stream | None) -> tuple[Any, Callable[[], None]]:
    """A copy of nested dicts, lists and tuples in host memory, and a function that waits for it.

    Tensors of a GPU are copied in `stream`. Tensors that share their memory share the copy: best.pt
    is a part of last.pt.
    """
    made: dict[tuple[object, ...], Tensor] = {}

    def copy(tensor: Tensor) -> Tensor:
        memory = tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()
        if memory not in made:
            made[memory] = _copy(tensor.detach(), stream)
        return made[memory]

    if stream is None:
        return with_tensors(value, copy), lambda: None
    steps = torch.cuda.current_stream(stream.device)
    stream.wait_stream(steps)
    copied = with_tensors(value, copy)
    done = stream.record_event()
    steps.wait_event(done)  # the next step changes the tensors
    return copied, done.synchronize


def _copy(tensor: Tensor, stream: torch.cuda.Stream | None) -> Tensor:
    if stream is None or not tensor.is_cuda:
        return tensor.to("cpu", copy=True)
    there = torch.empty_like(tensor, device="cpu", pin_memory=True)
    with torch.cuda.stream(stream):
        return there.copy_(tensor, non_blocking=True)
