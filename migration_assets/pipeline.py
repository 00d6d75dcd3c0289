"""Overlap of the steps of one table: each runs in its own thread, a few batches apart."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from typing import TypeVar

T = TypeVar("T")

DEPTH = 1
"""Batches that wait between two steps: one is enough to overlap them, and each is memory."""


@contextmanager
def ahead(items: Iterable[T], depth: int = DEPTH) -> Iterator[Iterator[T]]:
    """Run ``items`` in a thread of its own while the block consumes them in order.

    The thread is over when the block ends, however it ends; an error in it is raised where the
    next item would have been. A generator is closed in the thread that ran it.
    """
    waiting: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: T | None, error: BaseException | None) -> bool:
        while not stopped.is_set():
            try:
                waiting.put((item, error), timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def produce() -> None:
        try:
            if isinstance(items, Generator):
                with closing(items):
                    _feed(items)
            else:
                _feed(items)
        # It is raised again by the consumer, in whose hands it is.
        except BaseException as error:
            put(None, error)

    def _feed(source: Iterable[T]) -> None:
        for item in source:
            if not put(item, None):
                return
        put(None, StopIteration())

    def consume() -> Iterator[T]:
        while True:
            item, error = waiting.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]

    thread = threading.Thread(target=produce, name="ahead", daemon=True)
    thread.start()
    try:
        yield consume()
    finally:
        stopped.set()
        thread.join()
