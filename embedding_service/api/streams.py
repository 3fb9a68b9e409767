"""Requests of a stream, for as long as the caller says something."""

import asyncio
from collections.abc import AsyncIterator
from typing import TypeVar

from twotower.errors import IdleStream

RequestT = TypeVar("RequestT")


async def prompt(requests: AsyncIterator[RequestT], idle_s: float) -> AsyncIterator[RequestT]:
    """Yield requests as they come.

    Raises:
        IdleStream: none came for `idle_s`.
    """
    messages = aiter(requests)
    while True:
        try:
            async with asyncio.timeout(idle_s):
                request = await anext(messages)
        except TimeoutError:
            raise IdleStream(f"the stream is ended: nothing was sent for {idle_s:g} s") from None
        except StopAsyncIteration:
            return
        yield request


async def until_idle(requests: AsyncIterator[RequestT], idle_s: float) -> AsyncIterator[RequestT]:
    """Yield requests as they come, and end when none has come for `idle_s` to twice that."""
    messages, watch = aiter(requests), _Watch(idle_s)
    try:
        while True:
            watch.looks = 0
            try:
                request = await anext(messages)
            except StopAsyncIteration:
                return
            except asyncio.CancelledError:
                if not watch.ended or watch.task.uncancel():
                    raise
                return
            watch.looks = -1
            yield request
    finally:
        watch.timer.cancel()


class _Watch:
    """Looks at a stream now and then, so that a request costs two assignments, and cancels one that stays idle.

    Attributes:
        task: that of the stream.
        timer: of the next look.
        looks: how often the stream was found waiting for the same request; -1 while it answers one.
        ended: the task was cancelled here.
    """

    def __init__(self, idle_s: float) -> None:
        task = asyncio.current_task()
        assert task
        self.task, self.looks, self.ended = task, 0, False
        self._idle_s = idle_s
        self.timer = asyncio.get_running_loop().call_later(idle_s, self._look)

    def _look(self) -> None:
        if self.looks > 0:
            self.ended = True
            self.task.cancel()
            return
        if self.looks == 0:
            self.looks = 1
        self.timer = asyncio.get_running_loop().call_later(self._idle_s, self._look)
