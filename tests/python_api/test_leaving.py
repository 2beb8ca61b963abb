"""A loop that is left early, or whose cache is gone, leaves no process, thread or memory behind."""

import gc
import multiprocessing
import threading
import weakref
from collections.abc import Callable

import pytest

from shared.cache import InputError, TeacherCache
from shared.epochs.staging.node_memory import NodeMemory
from tests.python_api.conftest import Made

BATCH = 8


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("views")}


def by_break(cache: TeacherCache) -> None:
    for _ in cache.loader(epoch=0, batch_size=BATCH, workers=2):
        assert multiprocessing.active_children()
        break


def by_error(cache: TeacherCache) -> None:
    with pytest.raises(ZeroDivisionError):
        for _ in cache.loader(epoch=0, batch_size=BATCH, workers=2):
            raise ZeroDivisionError


def by_next(cache: TeacherCache) -> None:
    next(iter(cache.loader(epoch=0, batch_size=BATCH, workers=2)))


def by_the_last_epoch(cache: TeacherCache) -> None:
    assert len(list(cache.loader(epoch=1, batch_size=BATCH, workers=2, epochs=2))) > 3


def by_close(cache: TeacherCache) -> None:
    with cache:
        list(cache.loader(epoch=0, batch_size=BATCH, workers=2))
        assert len(multiprocessing.active_children()) == 2


WAYS = [by_break, by_error, by_next, by_the_last_epoch, by_close]


@pytest.mark.parametrize("leave", WAYS)
def test_nothing_is_left(
    opened: TeacherCache, leave: Callable[[TeacherCache], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    memories: list[weakref.ref[object]] = []
    map_memory = NodeMemory._map

    def noted(self: NodeMemory, num_bytes: int) -> None:
        map_memory(self, num_bytes)
        memories.append(weakref.ref(self._map_of_all))

    monkeypatch.setattr(NodeMemory, "_map", noted)
    before = {child.pid for child in multiprocessing.active_children()}
    gc.disable()  # memory must not wait for it
    try:
        leave(opened)
        assert {child.pid for child in multiprocessing.active_children()} == before
        assert threads() == set()
        assert [memory() for memory in memories if memory() is not None] == []
        assert len(memories) == ("zarr" in repr(opened))
    finally:
        gc.enable()


def test_without_a_name_for_the_cache(made: Made, store: str) -> None:
    before = {child.pid for child in multiprocessing.active_children()}
    for step, _ in enumerate(TeacherCache(made(store)).loader(epoch=0, batch_size=8, workers=1)):
        if step == 1:
            gc.collect()  # the loop alone keeps it
        assert len(multiprocessing.active_children()) == len(before) + 1
    assert {child.pid for child in multiprocessing.active_children()} == before
    assert threads() == set()


def test_a_loop_inside_another_is_told(opened: TeacherCache) -> None:
    outer = iter(opened.loader(epoch=0, batch_size=BATCH))
    next(outer)
    assert len(list(opened.loader(epoch=1, batch_size=4))) == 9
    with pytest.raises(InputError, match=r"^this loop is over, as another one over the same cache"):
        next(outer)
