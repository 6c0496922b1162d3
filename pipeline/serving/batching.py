"""A bounded queue in front of the model: posts of requests that come together are predicted in one batch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

LARGEST_BATCH = 32
WAIT = 0.02  # seconds at most that a batch waits for posts that are being decoded
CAPACITY = 256  # posts in all requests that are not answered yet
BATCHES = 2  # computed at once: one encodes while the heads of the other run


class Busy(Exception):  # noqa: N818 (the server is busy; nothing is wrong)
    """The queue is full."""


class Batcher(Generic[Item, Result]):
    """Calls `compute` in threads with batches of what was submitted; use it on one event loop, between start and stop.

    A result that is an exception is raised to the one who submitted the item; an exception of `compute` to all.
    """

    def __init__(
        self,
        compute: Callable[[Sequence[Item]], Sequence[Result | Exception]],
        *,
        largest: int = LARGEST_BATCH,
        wait: float = WAIT,
        capacity: int = CAPACITY,
        seen: Callable[[int], object] = lambda size: None,
    ) -> None:
        """`seen` is told the size of each batch."""
        self.compute, self.largest, self.wait, self.capacity, self.seen = compute, largest, wait, capacity, seen
        self.admitted = 0
        self.arriving = 0  # of those that are admitted: not in the queue yet
        self.queue: asyncio.Queue[tuple[Item, asyncio.Future[Result]]] = asyncio.Queue()
        self.collecting = asyncio.Lock()
        self.threads = ThreadPoolExecutor(BATCHES, "batch")
        self.tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to compute batches; to be called in the event loop."""
        self.tasks = [asyncio.create_task(self._compute_batches()) for _ in range(BATCHES)]

    async def stop(self) -> None:
        """Give up what waits, and end the threads."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.threads.shutdown()

    @contextmanager
    def admit(self, items: int) -> Iterator[None]:
        """Keep room for so many items, from before they are decoded until they are answered. Raises Busy."""
        if self.admitted + items > self.capacity:
            raise Busy
        self.admitted += items
        try:
            yield
        finally:
            self.admitted -= items

    @contextmanager
    def prepare(self) -> Iterator[None]:
        """Around what is done to an item before it is submitted: a batch waits for it, a little."""
        self.arriving += 1
        try:
            yield
        finally:
            self.arriving -= 1

    async def submit(self, item: Item) -> Result:
        """The result of one item, for which there must be room (`admit`)."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.queue.put_nowait((item, future))
        return await future

    async def _compute_batches(self) -> None:
        while True:
            async with self.collecting:
                batch = await self._collect()
            waiting = [(item, future) for item, future in batch if not future.done()]  # some clients have gone
            if waiting:
                self.seen(len(waiting))
                await self._compute([item for item, _ in waiting], [future for _, future in waiting])

    async def _collect(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        """What is in the queue, and what is on its way there: a larger batch takes less time per post."""
        batch = [await self.queue.get()]
        with suppress(TimeoutError):
            async with asyncio.timeout(self.wait):
                while len(batch) < self.largest and (self.arriving or not self.queue.empty()):
                    batch.append(await self.queue.get())
        return batch

    async def _compute(self, items: Sequence[Item], futures: Sequence[asyncio.Future[Result]]) -> None:
        results: Sequence[Result | Exception]
        try:
            results = await asyncio.get_running_loop().run_in_executor(self.threads, self.compute, items)
        except Exception as error:
            results = [error] * len(items)
        for result, future in zip(results, futures, strict=True):
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
