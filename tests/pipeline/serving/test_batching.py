"""Items that come together are computed together, the queue is bounded, and one failure is one failure."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from msa.pipeline.serving.batching import Batcher, Busy


def use(batcher: Batcher[Any, Any], body: Callable[[], Awaitable[Any]]) -> Any:
    """Run a test's body on an event loop between start and stop."""

    async def main() -> Any:
        batcher.start()
        try:
            return await body()
        finally:
            await batcher.stop()

    return asyncio.run(main())


def submit_all(batcher: Batcher[Any, Any], items: Sequence[Any]) -> Any:
    async def body() -> list[Any]:
        with batcher.admit(len(items)):
            return list(await asyncio.gather(*map(batcher.submit, items), return_exceptions=True))

    return use(batcher, body)


def test_items_that_come_together_are_one_batch_and_a_large_one_is_cut() -> None:
    sizes: list[int] = []
    batcher: Batcher[int, int] = Batcher(lambda items: [2 * item for item in items], largest=4, seen=sizes.append)
    assert submit_all(batcher, range(10)) == [2 * item for item in range(10)]
    assert (sum(sizes), max(sizes)) == (10, 4)
    assert len(sizes) == 3


def test_a_lone_item_waits_for_no_other() -> None:
    batcher: Batcher[int, int] = Batcher(lambda items: list(items), wait=3600)
    assert submit_all(batcher, [7]) == [7]


def test_a_batch_waits_for_items_that_are_being_prepared() -> None:
    sizes: list[int] = []
    batcher: Batcher[int, int] = Batcher(lambda items: list(items), wait=3600, seen=sizes.append)

    async def body() -> list[int]:
        ready = asyncio.Event()

        async def one(item: int) -> int:
            with batcher.prepare():
                await (ready.wait() if item else asyncio.sleep(0))
            return await batcher.submit(item)

        with batcher.admit(2):
            tasks = [asyncio.create_task(one(item)) for item in range(2)]
            await asyncio.sleep(0.05)
            assert sizes == []
            ready.set()
            return list(await asyncio.gather(*tasks))

    assert use(batcher, body) == [0, 1]
    assert sizes == [2]


def test_the_errors_of_one_and_of_all() -> None:
    def compute(items: Sequence[int]) -> list[int | Exception]:
        if 9 in items or 8 in items:
            raise RuntimeError("the model is gone")
        return [ValueError("odd") if item % 2 else item for item in items]

    assert [str(one) for one in submit_all(Batcher(compute), [0, 1, 2])] == ["0", "odd", "2"]
    assert [str(one) for one in submit_all(Batcher(compute), [8, 9])] == ["the model is gone"] * 2


def test_more_than_the_queue_holds_is_refused_until_there_is_room() -> None:
    release = threading.Event()

    def compute(items: Sequence[int]) -> list[int]:
        release.wait(30)
        return list(items)

    batcher: Batcher[int, int] = Batcher(compute, capacity=3)

    async def body() -> list[int]:
        async def one(item: int) -> int:
            with batcher.admit(1):
                return await batcher.submit(item)

        tasks = [asyncio.create_task(one(item)) for item in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await one(3)
        release.set()
        answers = await asyncio.gather(*tasks)
        return [*answers, await one(4)]

    assert use(batcher, body) == [0, 1, 2, 4]
    assert batcher.admitted == 0


def test_an_item_whose_client_has_gone_is_not_computed() -> None:
    computed: list[int] = []
    release = threading.Event()

    def compute(items: Sequence[int]) -> list[int]:
        release.wait(30)
        computed.extend(items)
        return list(items)

    batcher: Batcher[int, int] = Batcher(compute, largest=1)

    async def body() -> None:
        tasks = [asyncio.create_task(batcher.submit(item)) for item in range(4)]
        await asyncio.sleep(0.05)  # two are being computed
        tasks[1].cancel()
        tasks[3].cancel()
        release.set()
        assert [await tasks[0], await tasks[2]] == [0, 2]

    use(batcher, body)
    assert sorted(computed) == [0, 1, 2]
