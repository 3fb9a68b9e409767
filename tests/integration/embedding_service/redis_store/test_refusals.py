"""A Redis that takes no writes: its disk or its memory is full, it is a replica, it loads, it has become empty."""

import asyncio
import contextlib
import os
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import redis

from embedding_service.ports import ActiveRelease, Outcome
from embedding_service.redis_store.client import connect
from embedding_service.redis_store.embedded import RedisServer, redis_executable
from embedding_service.redis_store.idle_users import IdleUsers
from embedding_service.redis_store.user_store import RedisUserStore
from tests.support.processes import free_port
from tests.support.stored_reviews import ENCODER, SPACE, counts, new_review
from twotower.errors import StoreUnavailable


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of 24 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.call(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], stderr=subprocess.DEVNULL):
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Leave no room on a disk."""
    file = disk / "fill"
    with file.open("wb", buffering=0) as full, contextlib.suppress(OSError):
        while True:
            full.write(bytes(4096))
    return file


async def _filled(store: RedisUserStore) -> None:
    await store.register_space(SPACE)
    await store.activate(ActiveRelease("r"))
    await store.record(
        ENCODER, [new_review(f"r{i}", f"p{i}", 1e9 + i, user) for user in ("u1", "u2", "u3") for i in (1, 2)]
    )
    await store.outboxes.drain()


async def _reads_go_on(store: RedisUserStore) -> None:
    assert await store.active_release() == ActiveRelease("r")
    assert (await store.read(SPACE, ["u1", "u2"])).counts.all()
    assert [snapshot.review_count for snapshot in await store.snapshots(ENCODER, ["u1"])] == [2]


async def until(probe: Callable[[], Awaitable[object]]) -> None:
    """Wait until a coroutine function succeeds."""
    while True:
        with contextlib.suppress(StoreUnavailable):
            await probe()
            return
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("appendfsync", ["always", "everysec"])
async def test_a_full_disk_costs_writes_and_not_reads(small_disk: Path, appendfsync: str) -> None:
    server = RedisServer(small_disk / "data", appendfsync=appendfsync)  # type: ignore[arg-type]
    await server.start()
    store = RedisUserStore(connect(server.url, timeout_s=5.0, connections=4, refuse_write=server.refuse_write))
    await _filled(store)
    pid = server.pid
    file = fill(small_disk)
    await asyncio.sleep(0.1)
    for _ in range(20):
        with pytest.raises(StoreUnavailable, match=r"the disk of .*data is nearly full, 0\.0 MB are left: make room"):
            await store.record(ENCODER, [new_review("more")])
        await _reads_go_on(store)
    assert server.pid == pid
    os.truncate(file, file.stat().st_size - (1 << 20))  # within the reserve
    await asyncio.sleep(0.1)
    with pytest.raises(StoreUnavailable, match="is nearly full"):
        await store.record(ENCODER, [new_review("more")])
    assert await store.retract(SPACE, "u3", "r1") is not None
    assert await store.delete("u2")
    await store.outboxes.drain()
    file.unlink()
    await asyncio.sleep(0.1)
    assert [change.outcome for change in await store.record(ENCODER, [new_review("more")])] == [Outcome.RECORDED]
    await store.close()
    await server.stop()


@pytest.mark.parametrize("appendfsync", ["always", "everysec"])
async def test_a_disk_that_was_full_unnoticed_heals_by_itself(small_disk: Path, appendfsync: str) -> None:
    server = RedisServer(small_disk / "data", appendfsync=appendfsync)  # type: ignore[arg-type]
    await server.start()
    guarded = RedisUserStore(connect(server.url, timeout_s=5.0, connections=4, refuse_write=server.refuse_write))
    unguarded = RedisUserStore(connect(server.url, timeout_s=5.0, connections=4))
    await _filled(guarded)
    file = fill(small_disk)
    refused = 0
    for number in range(20):
        with contextlib.suppress(StoreUnavailable):
            await unguarded.record(ENCODER, [new_review(f"unguarded {number}", user_id="u9")])
            continue
        refused += 1
    assert refused  # `always`: Redis ended; `everysec`: MISCONF
    await asyncio.sleep(0.1)
    await until(lambda: _reads_go_on(guarded))
    pid = server.pid
    for _ in range(5):
        with pytest.raises(StoreUnavailable, match="is nearly full"):
            await guarded.record(ENCODER, [new_review("more")])
        await _reads_go_on(guarded)
    assert server.pid == pid
    file.unlink()
    await asyncio.sleep(0.1)
    await until(lambda: guarded.record(ENCODER, [new_review("more")]))
    await guarded.close()
    await unguarded.close()
    await server.stop()


async def test_full_memory_costs_new_reviews_and_everything_else_goes_on(
    redis_server: RedisServer, store: RedisUserStore
) -> None:
    await _filled(store)
    assert [change.outcome for change in await store.record(ENCODER, [new_review("r9", "p1", 1e9, "u4")])] == [
        Outcome.RECORDED
    ]
    with redis.Redis.from_url(redis_server.url) as admin:
        admin.config_set("maxmemory", "1mb")  # less than an empty Redis takes
        with pytest.raises(StoreUnavailable, match=r"Redis refused: OOM command not allowed .*'maxmemory'"):
            await store.record(ENCODER, [new_review("more")])
        await _reads_go_on(store)
        assert await store.retract(SPACE, "u1", "r1") is not None
        assert await store.delete("u2")
        idle = IdleUsers(store.client, store.outboxes, ttl_days=1e-9)
        assert await idle.sweep() == 3
        await store.outboxes.drain()
        assert not await counts(store)
        admin.config_set("maxmemory", 0)
    assert [change.outcome for change in await store.record(ENCODER, [new_review("more")])] == [Outcome.RECORDED]


@pytest.fixture
async def replica(redis_server: RedisServer, tmp_path: Path) -> AsyncIterator[int]:
    """Port of a replica of the server."""
    ports = [free_port(), free_port()]
    with redis.Redis.from_url(redis_server.url) as admin:
        admin.config_set("port", ports[0])
    options = {"port": ports[1], "dir": tmp_path, "save": "", "replicaof": f"127.0.0.1 {ports[0]}"}
    arguments = [part for name, value in options.items() for part in (f"--{name}", *str(value).split())]
    process = await asyncio.create_subprocess_exec(
        str(redis_executable()), *arguments, stdout=asyncio.subprocess.DEVNULL
    )
    with redis.Redis(port=ports[1]) as client:
        while True:
            with contextlib.suppress(redis.RedisError):
                if client.info("replication")["master_link_status"] == "up":
                    break
            await asyncio.sleep(0.05)
    yield ports[1]
    process.kill()
    await process.wait()


async def test_a_replica_answers_reads_while_others_want_to_write(store: RedisUserStore, replica: int) -> None:
    await _filled(store)
    reader = RedisUserStore(connect(f"redis://127.0.0.1:{replica}", timeout_s=5.0, connections=4, wait_replicas=0))
    await until(lambda: _reads_go_on(reader))

    async def write(number: int) -> None:
        with pytest.raises(
            StoreUnavailable, match=r"Redis refused: READONLY You can't write against a read only replica"
        ):
            await reader.record(ENCODER, [new_review(f"n{number}")])

    await asyncio.gather(*(write(i) if i % 2 else _reads_go_on(reader) for i in range(40)))
    await reader.close()


async def test_a_redis_that_has_become_empty_is_said_until_it_is_not(
    store: RedisUserStore, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    assert await store.active_release() == ActiveRelease()  # a new store is no lost one
    await store.register_space(SPACE)
    assert await store.active_release() == ActiveRelease()
    await store.activate(ActiveRelease("best-1"))
    assert await store.active_release() == ActiveRelease("best-1")
    with redis.Redis.from_url(redis_server.url) as admin:
        admin.flushall()
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match="Redis has become empty: release best-1 was active"):
            await store.active_release()
    assert [record.levelname for record in caplog.records if "become empty" in record.message] == ["ERROR"]
    await store.activate(ActiveRelease("best-1"))
    assert await store.active_release() == ActiveRelease("best-1")


async def test_the_probe_of_health_writes_nothing(store: RedisUserStore, redis_server: RedisServer) -> None:
    await store.active_release()
    with redis.Redis.from_url(redis_server.url) as admin:
        assert admin.dbsize() == 0
