"""Operators' commands on a store."""

import asyncio
import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from embedding_service.ports import ActiveRelease, Space
from embedding_service.redis_store.embedded import RedisServer
from embedding_service.redis_store.keys import SCHEMA_KEY, UserKeys
from embedding_service.redis_store.user_store import RedisUserStore
from tests.support.stored_reviews import ENCODER
from twotower.cli import main
from twotower.release import Release


def test_the_commands_speak_to_the_embedded_store(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for command, expected in (
        ("verify", "0 users, 0 reviews\nclean\n"),
        ("du", "0 users"),
        ("migrate", "schema version 3 already"),
    ):
        result = CliRunner().invoke(main, [command, "--data-dir", str(tmp_path / "data")])
        assert result.exit_code == 0, result.output
        assert expected in result.output
    for more in ([], ["--json"]):
        result = CliRunner().invoke(main, ["verify", "--data-dir", str(tmp_path / "nowhere"), *more])
        assert (result.exit_code, result.stdout) == (1, "")
        assert "no such folder" in result.stderr


async def test_a_store_of_an_earlier_schema_is_not_verified(filled: RedisUserStore, redis_server: RedisServer) -> None:
    accumulator = UserKeys("user 1").accumulator(ENCODER)
    await filled.client.one("SET", accumulator, (await filled.client.one("GET", accumulator))[:1548])
    await filled.client.one("SET", SCHEMA_KEY, 2)
    for repair in ([], ["--repair"]):
        result = await asyncio.to_thread(CliRunner().invoke, main, ["verify", *repair, "--store", redis_server.url])
        assert (result.exit_code, result.stdout) == (1, "")
        assert "schema version 2, this version reads 3; run `twotower migrate`" in result.stderr


async def test_the_password_of_the_store_may_be_in_a_file(
    filled: RedisUserStore, redis_server: RedisServer, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text("p@ss/word\n")
    await filled.client.one("ACL", "SETUSER", "operator", "on", ">p@ss/word", "~tt:*", "+@all")
    try:
        store = redis_server.url.replace("://", "://operator@")
        options = {"TWOTOWER_EMBEDDING_STORE": store, "TWOTOWER_EMBEDDING_REDIS_PASSWORD_FILE": str(file)}
        verified = await asyncio.to_thread(CliRunner().invoke, main, ["verify"], env=options)
        assert (verified.exit_code, verified.stdout) == (0, "10 users, 30 reviews\nclean\n"), verified.output
        refused = await asyncio.to_thread(CliRunner().invoke, main, ["verify", "--store", "embedded"], env=options)
        assert (refused.exit_code, refused.stdout) == (2, "")
        assert "--redis-password-file: is for a Redis of your own" in " ".join(refused.stderr.split())
    finally:
        await filled.client.one("ACL", "DELUSER", "operator")


async def document(store: RedisServer, *command: str, exit_code: int = 0) -> dict[str, Any]:
    """What a command prints with --json."""
    result = await asyncio.to_thread(CliRunner().invoke, main, [*command, "--store", store.url, "--json"])
    assert (result.exit_code, result.stderr) == (exit_code, "")
    answer = json.loads(result.stdout)
    assert isinstance(answer, dict)
    return answer


async def test_json_of_a_store(filled: RedisUserStore, redis_server: RedisServer) -> None:
    clean = {"users": 10, "reviews": 30, "problems": [], "popularity": {ENCODER: 0}, "repaired": False, "clean": True}
    assert await document(redis_server, "verify") == clean
    assert await document(redis_server, "migrate") == {"version_before": 3, "version": 3}
    usage = await document(redis_server, "du")
    assert usage["users"] == 10
    assert {kind: size["keys"] for kind, size in usage["kinds"].items()} == {"acc": 10, "log": 10, "seen": 10}
    without_log = usage["kinds"]["acc"]["bytes"] + usage["kinds"]["seen"]["bytes"]
    assert usage["bytes_per_user_without_log"] == without_log / 10

    await filled.client.send([("DEL", UserKeys("user 3").accumulator(ENCODER))])
    damaged = await document(redis_server, "verify", exit_code=1)
    assert not damaged["clean"]
    assert {(problem["user_id"], problem["encoder_id"]) for problem in damaged["problems"]} == {("user 3", ENCODER)}
    assert (await document(redis_server, "verify", "--repair"))["repaired"]


async def test_json_of_an_export(
    filled: RedisUserStore, redis_server: RedisServer, release: Release, releases: Path, tmp_path: Path
) -> None:
    await filled.register_space(Space(release.manifest.encoder_id, release.manifest.als_id))
    await filled.activate(ActiveRelease(release.release_id))
    file = tmp_path / "users.parquet"
    answer = await document(redis_server, "export-users", str(file), "--releases", str(releases))
    assert answer == {"users": 0, "file": str(file), "release_id": release.release_id}
    assert file.exists()
