"""Verify, repair and migrate, on a real Redis with real damage."""

import struct

import numpy as np
import pytest

from embedding_service.operations.verify import Verifier
from embedding_service.ports import ActiveRelease, AlsOrigin, FoldedIn
from embedding_service.redis_store.embedded import RedisServer
from embedding_service.redis_store.keys import SCHEMA_KEY, PopularityKeys, UserKeys
from embedding_service.redis_store.user_store import RedisUserStore
from tests.support.encoders import hash_vector
from tests.support.stored_reviews import ENCODER, SPACE

DAY = 11_574  # of the reviews of new_review


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
