"""Work that goes on: what wakes it is done, whatever happens to the store meanwhile."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest

from embedding_service.redis_store.background import repeat, supervised
from twotower.errors import StoreUnavailable


async def run_until(done: asyncio.Event, work: Callable[[], Awaitable[None]], woken: asyncio.Event) -> None:
    task = asyncio.create_task(repeat("test", work, period_s=3600, woken=woken, retry_s=0.01))
    async with asyncio.timeout(20):
        await done.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_a_round_that_found_the_store_away_comes_again_soon() -> None:
    woken, done, waiting, away = asyncio.Event(), asyncio.Event(), 0, 3

    async def work() -> None:
        nonlocal waiting, away
        if away:
            away -= 1
            if away == 1:  # something comes in while the store is away
                waiting += 1
                woken.set()
            raise StoreUnavailable("away")
        if waiting:
            done.set()

    await run_until(done, work, woken)


async def test_an_unexpected_error_does_not_end_it(caplog: pytest.LogCaptureFixture) -> None:
    woken, done, rounds = asyncio.Event(), asyncio.Event(), 0

    async def work() -> None:
        nonlocal rounds
        rounds += 1
        if rounds > 1:
            done.set()
        woken.set()
        if rounds == 1:
            raise RuntimeError("a bug")

    await run_until(done, work, woken)
    assert "a bug" in caplog.text


async def test_trouble_is_said_once_with_its_reason_and_when_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    woken, done, rounds = asyncio.Event(), asyncio.Event(), 0

    async def work() -> None:
        nonlocal rounds
        rounds += 1
        if rounds < 4:
            raise StoreUnavailable("Redis does not answer") from ConnectionError("refused by port 6379")
        woken.set()
        if rounds > 4:
            done.set()

    await run_until(done, work, woken)
    said = [(record.levelname, record.message) for record in caplog.records]
    assert said == [("WARNING", "test: Redis does not answer (refused by port 6379)"), ("INFO", "test goes on")]


async def test_work_that_dies_begins_again_and_is_seen(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embedding_service.redis_store.background._FIRST_RESTART_S", 0.01)
    runs = 0

    async def run() -> None:
        nonlocal runs
        runs += 1
        if runs < 3:
            raise MemoryError("no room")

    await supervised("some work", run)
    assert runs == 3
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 2
    assert all("some work ended and begins again" in text and "MemoryError: no room" in text for text in warnings)
