"""What people's machines do to a store: passwords, folders, damaged files, another owner, settings of Redis."""

import asyncio
import errno
import logging
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
import redis
from click.testing import CliRunner

from embedding_service.operations.commands import verify
from embedding_service.redis_store.client import connect
from embedding_service.redis_store.configuration import Configuration
from embedding_service.redis_store.embedded import RedisServer, running_or_started
from embedding_service.redis_store.user_store import RedisUserStore
from tests.support.embedding_calls import StartService, publish
from tests.support.processes import free_port
from tests.support.stored_reviews import ENCODER, SPACE, new_review
from twotower.errors import StoreUnavailable
from twotower.release import Release

PASSWORD = "5ecr3t/?#@%:+ é"


def appended(folder: Path) -> Path:
    """The file that Redis appends to."""
    return max((folder / "appendonlydir").glob("*.incr.aof"), key=lambda file: int(file.name.split(".")[2]))


@pytest.fixture
def locked(redis_server: RedisServer) -> str:
    """URL of a Redis that wants a password, without it."""
    with redis.Redis.from_url(redis_server.url) as admin:
        admin.config_set("requirepass", PASSWORD)
    return redis_server.url


async def test_a_wrong_password_is_not_an_outage(locked: str) -> None:
    for account, reason in (("", "Authentication required"), (":5ecr3t-wrong@", "WRONGPASS|invalid username-password")):
        client = connect(locked.replace("unix://", f"unix://{account}"), timeout_s=5.0, connections=1)
        with pytest.raises(StoreUnavailable, match=reason) as raised:
            await client.one("GET", "k")
        assert "does not answer" not in str(raised.value)
        assert "5ecr3t" not in str(raised.value)
        await client.close()
    client = connect(locked.replace("unix://", f"unix://:{quote(PASSWORD, '')}@"), timeout_s=5.0, connections=1)
    assert await client.one("GET", "k") is None
    await client.close()


async def test_the_commands_say_redis_own_reason_and_obey_the_services_variables(
    locked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWOTOWER_EMBEDDING_STORE", locked.replace("unix://", "unix://:5ecr3t-wrong@"))
    result = await asyncio.to_thread(CliRunner().invoke, verify, [])
    assert "invalid username-password" in str(result.exception)
    assert "5ecr3t" not in str(result.exception) + result.output
    away = await asyncio.to_thread(CliRunner().invoke, verify, ["--store", f"redis://127.0.0.1:{free_port()}"])
    assert "onnect" in str(away.exception).partition("(")[2]  # connection refused, in the system's words
    wrong = await asyncio.to_thread(CliRunner().invoke, verify, ["--store", "redis://u:5ecr/3t@h"])
    assert wrong.exit_code == 2
    assert "percent-encoded" in wrong.output
    assert "5ecr" not in wrong.output


@pytest.mark.parametrize("name", ["a#b", "a?b", "100%", "a b", "á 店", "%41", "long " * 40])
async def test_a_data_folder_may_have_any_name_and_commands_find_its_redis(tmp_path: Path, name: str) -> None:
    server = RedisServer(tmp_path / name)
    await server.start()
    store = RedisUserStore(connect(server.url, timeout_s=5.0, connections=1))
    await store.record(ENCODER, [new_review("r1")])
    async with running_or_started(tmp_path / name) as url:
        same = connect(url, timeout_s=5.0, connections=1)
        pid = (await same.server_info())[0]["process_id"]
        assert int(pid) == server.pid
        await same.close()
    await store.close()
    await server.stop()
    assert appended(tmp_path / name).stat().st_size > 0


async def test_a_file_that_ends_in_a_write_is_loaded_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(3):
        server = RedisServer(tmp_path)
        caplog.clear()
        await server.start()
        assert ("ended in the middle of a write" in caplog.text) == (number == 1)
        store = RedisUserStore(connect(server.url, timeout_s=5.0, connections=1))
        await store.register_space(SPACE)
        await store.record(ENCODER, [new_review(f"r{number}")])
        await store.close()
        await server.stop()
        file = appended(tmp_path)
        os.truncate(file, file.stat().st_size - (7 if number == 0 else 0))


async def test_a_damaged_file_is_refused_with_what_to_do_and_that_works(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    await server.start()
    store = RedisUserStore(connect(server.url, timeout_s=5.0, connections=1))
    await store.record(ENCODER, [new_review("r1")])
    await store.close()
    await server.stop()
    whole = appended(tmp_path).read_bytes()
    appended(tmp_path).write_bytes(whole + b"garbage that is no command\n" * 3)
    with pytest.raises(StoreUnavailable, match=r"appendonlydir is damaged: keep a copy .* Bad file format") as raised:
        await RedisServer(tmp_path).start()
    told = str(raised.value).split("`")[1]
    await asyncio.to_thread(subprocess.run, told, shell=True, input=b"y\n", check=True, stdout=subprocess.DEVNULL)
    assert appended(tmp_path).read_bytes() == whole
    await server.start()
    await server.stop()


async def test_a_file_of_an_earlier_version_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "appendonly.aof").write_bytes(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n")
    server = RedisServer(tmp_path)
    await server.start()
    with redis.Redis.from_url(server.url) as client:
        assert client.get("k") == b"v"
    await server.stop()


async def test_the_servers_log_is_bounded_and_only_its_end_is_read(tmp_path: Path) -> None:
    with (tmp_path / "redis.log").open("wb") as log:
        log.truncate(3 << 30)
    server = RedisServer(tmp_path)
    await server.start()
    assert (tmp_path / "redis.log").stat().st_size < 1 << 20
    assert (tmp_path / "redis.log.1").stat().st_size == 3 << 30
    await server.stop()


async def test_a_folder_that_can_not_be_one_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "data" / "lock").mkdir(parents=True)
    for folder in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / "data", Path("/proc/self/no folder")):
        with pytest.raises(StoreUnavailable, match=r"can't be the folder of the embedded store: .*--data-dir"):
            await RedisServer(folder).start()


async def test_a_folder_without_fsync_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StoreUnavailable, match="refuses fsync"):
        await RedisServer(tmp_path).start()
    server = RedisServer(tmp_path, appendfsync="no")
    await server.start()
    await server.stop()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
async def test_files_of_another_user_are_named(tmp_path: Path) -> None:
    (tmp_path / "appendonly.aof").touch(0o000)
    with pytest.raises(StoreUnavailable, match="may not read and write appendonly"):
        await RedisServer(tmp_path).start()


async def test_a_folder_in_use_is_refused_whatever_process_ids_say(tmp_path: Path) -> None:
    # A lock of a process that is none of ours and tells no process id, as one of another container.
    script = "import fcntl, sys; f = open(sys.argv[1], 'a+'); fcntl.flock(f, 2); print('held', flush=True); input()"
    other = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script, str(tmp_path / "lock")),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert other.stdout is not None
    assert await other.stdout.readline() == b"held\n"
    with pytest.raises(StoreUnavailable, match="in use by another embedding service"):
        await RedisServer(tmp_path, lock_timeout_s=0.2).start()
    await other.communicate(b"\n")
    server = RedisServer(tmp_path)
    await server.start()
    await server.stop()


async def test_an_evicting_redis_is_refused(
    redis_server: RedisServer, start_service: StartService, release: Release, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    client = connect(redis_server.url, timeout_s=5.0, connections=1)
    configuration = Configuration(client, 0)
    store = RedisUserStore(client, refusal=lambda: configuration.refusal)
    assert await configuration.check()
    assert caplog.text == ""
    await client.one("CONFIG SET", "maxmemory-policy", "volatile-lru")
    with pytest.raises(StoreUnavailable, match=r"maxmemory-policy is volatile-lru: set maxmemory-policy noeviction"):
        await configuration.check()
    with pytest.raises(StoreUnavailable, match="set maxmemory-policy noeviction"):
        await store.active_release()  # health
    with pytest.raises(StoreUnavailable, match="set maxmemory-policy noeviction"):
        await start_service(store=redis_server.url)
    await client.one("CONFIG SET", "maxmemory-policy", "noeviction")
    assert await configuration.check()
    await store.active_release()
    await publish(await start_service(store=redis_server.url), release)
    await client.close()


async def test_wait_that_is_refused_is_said(redis_server: RedisServer) -> None:
    with redis.Redis.from_url(redis_server.url) as admin:
        admin.execute_command("ACL SETUSER", "twotower", "on", ">p", "~tt:*", "+@all", "-wait")
    url = redis_server.url.replace("unix://", "unix://twotower:p@")
    store = RedisUserStore(connect(url, timeout_s=2.0, connections=1, wait_replicas=1))
    with pytest.raises(StoreUnavailable, match=r"refused to wait for 1 replicas: .*wait"):
        await store.record(ENCODER, [new_review("r1")])
    await store.close()


async def test_an_unreachable_cluster_is_the_stores_error() -> None:
    client = connect(f"redis+cluster://127.0.0.1:{free_port()}", timeout_s=0.5, connections=1)
    with pytest.raises(StoreUnavailable, match="does not answer"):
        await client.one("GET", "k")
    with pytest.raises(StoreUnavailable, match="does not answer"):
        await client.server_info()
    await client.close()
