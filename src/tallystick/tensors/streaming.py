"""How long vectors are cut: into blocks for threads, and blocks into chunks that fit a cache."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

from tallystick.tensors.layout import Layout, Segment

__all__ = [
    "BLOCK",
    "CHUNK",
    "chunk_length",
    "cuts",
    "finest_exponent",
    "stream",
]

T = TypeVar("T")
S = TypeVar("S")

CHUNK = 1 << 18  # parameters in hand at a time with few updates
CHUNK_VALUES = 1 << 22  # values of all updates in hand at a time with many
MIN_CHUNK = 1 << 10
BLOCK = 1 << 19  # parameters a thread works on before it hands back a result


def chunk_length(count: int) -> int:
    """Return how many parameters of ``count`` updates to hold at a time."""
    return max(MIN_CHUNK, min(CHUNK, CHUNK_VALUES // count))


def cuts(layout: Layout, step: int) -> Iterator[tuple[Segment, int, int]]:
    """Yield every segment in pieces of at most ``step`` elements: segment, start, stop."""
    for segment in layout.segments:
        for start in range(segment.start, segment.stop, step):
            yield segment, start, min(start + step, segment.stop)


def finest_exponent(layout: Layout) -> int:
    """Return the lowest exponent of a float segment: the step that geometry counts in."""
    return min((part.exponent for part in layout.segments if part.is_float), default=0)


def stream(threads: int, work: Callable[[S], T], items: Iterable[S]) -> Iterator[T]:
    """Yield ``work`` of each item in order, a few items ahead where threads help."""
    if threads < 2 or (isinstance(items, Sequence) and len(items) < 2):  # noqa: PLR2004
        yield from map(work, items)
        return
    pool = _pool(threads, os.getpid())
    running: list[Future[T]] = []
    try:
        for item in items:
            running.append(pool.submit(work, item))
            if len(running) > threads:
                yield running.pop(0).result()
        while running:
            yield running.pop(0).result()
    finally:
        for future in running:
            future.cancel()


@lru_cache(maxsize=4)
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """Return this process's threads: after a fork they are gone, and the child gets its own."""
    return ThreadPoolExecutor(threads, thread_name_prefix=f"tensors-{process}")
