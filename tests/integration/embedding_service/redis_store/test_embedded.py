"""The redis-server that the service starts itself."""

from pathlib import Path

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
