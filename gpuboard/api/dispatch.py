"""The way from a request to the engine's thread and back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from gpuboard.errors import Unavailable

T = TypeVar("T")

ANSWER_TIMEOUT_S = 30.0


class Dispatch(Protocol):
    """Runs a function on the engine's thread and awaits its result."""

    async def __call__(self, work: Callable[[], T]) -> T:
        """Return the function's result or raise its error."""


class EngineDispatch:
    """Posts to a thread that takes functions and answers with futures."""

    def __init__(
        self,
        post: Callable[[Callable[[], Any]], Future[Any]],
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> None:
        self._post = post
        self._timeout_s = timeout_s

    async def __call__(self, work: Callable[[], T]) -> T:
        """Return the function's result. Raises Unavailable when the engine takes too long.

        A caller that goes away cancels nothing: what was posted is done, or not, as a whole.
        """
        future: asyncio.Future[T] = asyncio.wrap_future(self._post(work))
        try:
            async with asyncio.timeout(self._timeout_s):
                return await asyncio.shield(future)
        except TimeoutError:
            raise Unavailable(
                f"the engine has not answered for {self._timeout_s:.0f} s",
                hint="it may be writing to a slow disk; `gpuboard doctor` says more",
            ) from None
