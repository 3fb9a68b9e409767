"""The redis-server that the service starts itself."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from embedding_service.ports import Outcome
from embedding_service.redis_store.client import connect
from embedding_service.redis_store.embedded import RedisServer
from embedding_service.redis_store.user_store import RedisUserStore
from tests.support.stored_reviews import ENCODER, new_review
from twotower.errors import StoreUnavailable


async def test_a_directory_has_one_owner_and_keeps_its_data(tmp_path: Path) -> None:
    first = RedisServer(tmp_path / ("long" * 40))  # its socket would not fit a socket address
    await first.start()
    with pytest.raises(StoreUnavailable, match="in use by another"):
        await RedisServer(tmp_path / ("long" * 40), lock_timeout_s=0.2).start()
    store = RedisUserStore(connect(first.url, timeout_s=5.0, connections=1))
    await store.record(ENCODER, [new_review("r1")])
    await store.close()
    await first.stop()
    second = RedisServer(tmp_path / ("long" * 40))
    await second.start()
    store = RedisUserStore(connect(second.url, timeout_s=5.0, connections=1))
    assert (await store.record(ENCODER, [new_review("r1")]))[0].outcome is Outcome.DUPLICATE
    await store.close()
    await second.stop()


async def test_a_redis_that_does_not_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "appendonly.aof").write_text("garbage that is no command\n" * 3)
    with pytest.raises(StoreUnavailable, match="Bad file format"):
        await RedisServer(tmp_path).start()


async def test_a_server_that_can_not_be_started_again_is_started_when_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = RedisServer(tmp_path)
    await server.start()
    store = RedisUserStore(connect(server.url, timeout_s=5.0, connections=1))
    await store.record(ENCODER, [new_review("r1")])
    start, failures = asyncio.create_subprocess_exec, iter([OSError(11, "Resource temporarily unavailable")] * 3)

    async def fail_first(*arguments: Any, **options: Any) -> asyncio.subprocess.Process:
        for failure in failures:
            raise failure
        return await start(*arguments, **options)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", fail_first)
    os.kill(server.pid, signal.SIGKILL)
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(StoreUnavailable):
                assert (await store.record(ENCODER, [new_review("r1")]))[0].outcome is Outcome.DUPLICATE
                break
            await asyncio.sleep(0.05)
    assert caplog.text.count("could not be started: BlockingIOError: [Errno 11] Resource temporarily unavailable") == 3
    await store.close()
    await server.stop()


async def test_the_log_says_which_server_it_is_and_its_bound(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    server = RedisServer(tmp_path, max_memory_mb=77)
    await server.start()
    assert "embedded store: valkey 9." in caplog.text
    assert "at most 77 MB of data" in caplog.text
    client = connect(server.url, timeout_s=5.0, connections=1)
    [info] = await client.server_info()
    assert (info["maxmemory"], info["maxmemory_policy"]) == (str(77 << 20), "noeviction")
    await client.close()
    await server.stop()
