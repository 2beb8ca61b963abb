"""Runs many short storage operations in threads, which mostly wait for a disk or a network."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

THREADS = 16
AT_A_TIME = 64  # items per task, because a task costs more than reading a small local file

T = TypeVar("T")
R = TypeVar("R")


def in_threads(act: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """`act` of each item, in order. Raises the first error and starts no more items then."""
    if len(items) <= 1:
        yield from map(act, items)
        return
    at_a_time = min(AT_A_TIME, -(-len(items) // THREADS))
    parts = [items[at : at + at_a_time] for at in range(0, len(items), at_a_time)]
    executor = ThreadPoolExecutor(THREADS, thread_name_prefix="files")
    try:
        for found in executor.map(lambda part: [act(item) for item in part], parts):
            yield from found
    finally:
        executor.shutdown(cancel_futures=True)
