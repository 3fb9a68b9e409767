"""Verify, repair, migrate, du, export and the dropping of retired spaces, on a real Redis with real damage."""

import asyncio
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from embedding_service.operations.commands import du, migrate, verify
from embedding_service.operations.export import export_users
from embedding_service.operations.usage import usage
from embedding_service.operations.verify import Verifier
from embedding_service.ports import ActiveRelease, AlsOrigin, FoldedIn, ImportedUser, Space
from embedding_service.redis_store.client import connect
from embedding_service.redis_store.embedded import RedisServer
from embedding_service.redis_store.keys import SCHEMA_KEY, PopularityKeys, UserKeys
from embedding_service.redis_store.user_store import RedisUserStore
from tests.support.embedding_calls import StartService, features, imported_user, publish, record
from tests.support.encoders import hash_vector
from tests.support.releases import product_id, write_random_release
from tests.support.stored_reviews import ENCODER, SPACE, new_review
from twotower.features import running_mean
from twotower.release import Release

DAY = 11_574  # of the reviews of new_review


@pytest.fixture
async def filled(store: RedisUserStore) -> RedisUserStore:
    """Ten users of three reviews, among them one whose name looks like a key."""
    await store.register_space(SPACE)
    names = [f"user {i}" for i in range(9)] + ["{100%}:log:x"]
    await store.record(ENCODER, [new_review(f"r{i}", f"p{i}", 1e9 + i, name) for name in names for i in range(3)])
    await store.outboxes.drain()
    return store


async def test_a_sound_store_is_clean(filled: RedisUserStore) -> None:
    found = await Verifier(filled).verify()
    assert (found.users, found.reviews, found.problems, found.popularity, found.clean) == (
        10,
        30,
        [],
        {ENCODER: 0},
        True,
    )


async def test_every_damage_is_found_and_mended(filled: RedisUserStore) -> None:
    keys = [UserKeys(f"user {i}") for i in range(6)]
    await filled.client.send(
        [
            ("SETRANGE", keys[0].accumulator(ENCODER), 0, struct.pack(">i", 7)),
            ("SETRANGE", keys[1].accumulator(ENCODER), 1536, struct.pack(">I", 9)),
            ("DEL", keys[2].accumulator(ENCODER)),
            ("HSET", keys[3].seen(ENCODER), "p0", "2:1"),
            ("DEL", keys[4].seen(ENCODER)),
            ("DEL", keys[5].log(ENCODER)),
            ("HINCRBY", PopularityKeys(ENCODER).day(DAY), "u01p1", 3 << 40),
        ]
    )
    found = await Verifier(filled).verify()
    assert {user for user, _, _ in found.problems} == {f"user {i}" for i in range(6)}
    assert found.popularity[ENCODER]
    assert not found.clean
    mended = await Verifier(filled).verify(repair=True)
    assert mended.repaired
    assert (await Verifier(filled).verify()).clean
    users = await filled.read(SPACE, ["user 0", "user 2", "user 5"])
    assert users.counts.tolist() == [3, 3, 0]
    np.testing.assert_array_equal(users.sums[1], np.sum([hash_vector(f"r{i}") for i in range(3)], axis=0, dtype=int))


async def test_a_store_of_schema_1_is_migrated(filled: RedisUserStore, redis_server: RedisServer) -> None:
    # As version 1 left it: no counters, and ALS records without products.
    [snapshot] = await filled.snapshots(ENCODER, ["user 1"])
    await filled.keep_als(
        SPACE, [FoldedIn("user 1", snapshot.changed_us, np.ones(64, np.float32), AlsOrigin.FOLDED_IN, [])]
    )
    async for names in filled.client.scan("tt:{pop}*"):
        await filled.client.send([("DEL", name) for name in names])
    await filled.client.one("SET", SCHEMA_KEY, 1)
    with pytest.raises(Exception, match="twotower migrate"):
        await filled.active_release()
    for _ in range(2):
        await Verifier(filled).migrate()
        assert await filled.active_release() == ActiveRelease()
    assert (await filled.read(SPACE, ["user 1"])).als_origins.tolist() == [AlsOrigin.MISSING]
    assert (await Verifier(filled).verify()).clean
    assert await filled.client.one("HLEN", PopularityKeys(ENCODER).day(DAY)) == 3


def test_the_commands_speak_to_the_embedded_store(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    arguments = ["--data-dir", str(tmp_path / "data")]
    for command, expected in (
        (verify, "0 users, 0 reviews\nclean\n"),
        (du, "0 users"),
        (migrate, "schema version 2 already"),
    ):
        result = CliRunner().invoke(command, arguments)
        assert result.exit_code == 0, result.output
        assert expected in result.output
    result = CliRunner().invoke(verify, ["--data-dir", str(tmp_path / "nowhere")])
    assert "no such folder" in str(result.exception)


async def test_a_warm_user_takes_no_more_than_is_promised(filled: RedisUserStore) -> None:
    users = [f"user {i}" for i in range(9)]
    versions = [snapshot.changed_us for snapshot in await filled.snapshots(ENCODER, users)]
    vector = np.ones(64, np.float32)
    products = [f"p{i}" for i in range(3)]
    await filled.keep_als(
        SPACE, [FoldedIn(*pair, vector, AlsOrigin.FOLDED_IN, products) for pair in zip(users, versions, strict=True)]
    )
    found = await usage(filled.client)
    assert found.users == 10
    assert found.keys == {"acc": 10, "log": 10, "seen": 10, "als": 9}
    assert sum(found.bytes_of(kind) for kind in ("acc", "seen", "als")) / found.users <= 2700


async def test_exported_users_are_what_the_service_answers(
    start_service: StartService, redis_server: RedisServer, release: Release, tmp_path: Path
) -> None:
    service = await start_service(store=redis_server.url)
    await publish(service, release, [imported_user("trained", ["a", "b"])])
    await record(service, "r1", "live", product_id(3))
    store = RedisUserStore(connect(redis_server.url, timeout_s=5.0, connections=2))
    file = tmp_path / "users.parquet"
    assert await export_users(store, Space(release.manifest.encoder_id, release.manifest.als_id), file) == 2
    rows = {row["user_id"]: row for row in pq.read_table(file).to_pylist()}
    trained = rows["trained"]
    sums: Any = hash_vector("a").astype(int) + hash_vector("b")
    np.testing.assert_array_equal(np.array(trained["bert_mean"], np.float32), running_mean(sums, 2))
    assert (trained["review_count"], trained["seen_product_ids"]) == (2, [product_id(0), product_id(1)])
    online = await features(service, "live")
    assert np.array(rows["live"]["als"], np.float32).tobytes() == online.als.values
    await store.close()


async def keys_of(store: RedisUserStore, *ids: str) -> int:
    """How many keys belong to spaces."""
    found = [key async for page in store.client.scan("tt:*") for key in page]
    return sum(any(key.decode().split("}:")[-1].split(":")[1:2] == [of] for of in ids) for key in found)


async def test_a_retired_space_is_dropped_and_no_other(filled: RedisUserStore) -> None:
    other, third = Space("encoder-2", "als-2"), Space("encoder-2", "als-3")
    for space in (other, third):
        await filled.register_space(space)
        await filled.merge(
            space,
            [
                ImportedUser(
                    "user als-1", [new_review("r1")], hash_vector("r1").astype(np.int32), np.ones(64, np.float32)
                )
            ],
        )
    kept = await keys_of(filled, "encoder-2", "als-2", "als-3")
    assert await keys_of(filled, "encoder-1")
    await filled.retire_spaces([other, third])
    await filled.retired_spaces.drop()
    assert await keys_of(filled, "encoder-1", "als-1") == 0
    assert await keys_of(filled, "encoder-2", "als-2", "als-3") == kept
    assert (await Verifier(filled).verify()).clean


async def test_an_import_takes_a_retired_space_back(filled: RedisUserStore) -> None:
    await filled.retire_spaces([])
    await filled.register_space(SPACE)
    assert await filled.retired_spaces.drop() == 0
    assert (await filled.read(SPACE, ["user 1"])).counts.tolist() == [3]


async def test_the_releases_that_answer_keep_their_spaces(
    start_service: StartService, redis_server: RedisServer, release: Release, other_release: Release, releases: Path
) -> None:
    third = write_random_release(releases, seed=2, products=30)
    service = await start_service(store=redis_server.url)
    store = RedisUserStore(connect(redis_server.url, timeout_s=5.0, connections=2))
    ids = [one.manifest.als_id for one in (release, other_release, third)]
    for one in (release, other_release, third):
        await publish(service, one, [imported_user("warm", ["a", "b"])])
    while await keys_of(store, ids[0]):  # noqa: ASYNC110 - Redis tells nobody
        await asyncio.sleep(0.01)
    assert [await keys_of(store, of) for of in ids] == [0, 1, 1]
    assert (await features(service, "warm")).review_count == 2
    await store.close()
