"""What the routes call: predicts given posts in batches, and explains one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from ...features.encoders.runtime import available_cores
from ..predict import Predictions
from .batching import Batcher
from .explained import explain_post, to_answer
from .known_posts import KnownPosts
from .metrics import ServerMetrics
from .request_posts import GivenPost
from .warm_model import PreparedPost, WarmModel

SECONDS = 30.0  # to answer a request that has arrived
Result = TypeVar("Result")


class Service:
    """The model, the posts it knows if any, and the threads and the queue between them and the event loop."""

    def __init__(self, name: str, model: WarmModel, known: KnownPosts | None = None) -> None:
        """`name` is what the page calls the run."""
        self.name, self.model, self.known, self.metrics = name, model, known, ServerMetrics()
        self.batcher: Batcher[PreparedPost, Predictions] = Batcher(model.predict, seen=self.metrics.batch.observe)
        self.metrics.admitted.set_function(lambda: self.batcher.admitted)
        self.decoding = ThreadPoolExecutor(available_cores(), "decode")
        self.explaining = ThreadPoolExecutor(1, "explain")

    async def stop(self) -> None:
        """End batches, threads and the model, in this order."""
        await self.batcher.stop()
        self.decoding.shutdown(cancel_futures=True)
        self.explaining.shutdown(cancel_futures=True)
        self.model.close()

    async def predict(self, posts: list[GivenPost]) -> list[dict[str, Any]]:
        """The answer to each post: a prediction, or an error with its status.

        Raises Busy where the queue is full, TimeoutError where the answer takes too long.
        """
        with self.batcher.admit(len(posts)):
            async with asyncio.timeout(SECONDS):
                return await asyncio.gather(*map(self._predict, posts))

    async def explain(self, post: GivenPost, row: int | None = None) -> dict[str, Any]:
        """The answer to one post, a known one by its row, with what it rests on. Raises as `predict`."""
        if post.fault:
            return {"status": post.fault[0], "error": post.fault[1]}
        with self.batcher.admit(1):
            async with asyncio.timeout(SECONDS):
                try:
                    prepared = await self.in_thread(self.model.prepare, post.image, post.text)
                    return await self.in_thread(
                        explain_post, self.model, self.known, prepared, row, threads=self.explaining
                    )
                except ValueError as error:
                    return {"status": 422, "error": str(error)}

    async def in_thread(
        self, call: Callable[..., Result], *given: Any, threads: ThreadPoolExecutor | None = None
    ) -> Result:
        """Call a function in one of the threads that decode, or in others."""
        return await asyncio.get_running_loop().run_in_executor(threads or self.decoding, call, *given)

    async def _predict(self, post: GivenPost) -> dict[str, Any]:
        named: dict[str, Any] = {} if post.id is None else {"id": post.id}
        if post.fault:
            return named | {"status": post.fault[0], "error": post.fault[1]}
        try:
            with self.batcher.prepare():
                prepared = await self.in_thread(self.model.prepare, post.image, post.text)
            found = await self.batcher.submit(prepared)
        except ValueError as error:
            return named | {"status": 422, "error": str(error)}
        self.metrics.predictions.labels(found.labels[0]).inc()
        return named | to_answer(found, prepared)
