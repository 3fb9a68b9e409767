"""Verify, repair and migrate, on a real Redis with real damage."""

import struct

import numpy as np
import pytest

from embedding_service.operations.verify import Verifier
from embedding_service.ports import ActiveRelease, AlsOrigin, FoldedIn
from embedding_service.redis_store.keys import SCHEMA_KEY, PopularityKeys, UserKeys
from embedding_service.redis_store.user_store import RedisUserStore
from tests.support.encoders import hash_vector
from tests.support.stored_reviews import ENCODER, SPACE
from twotower.errors import StoreUnavailable

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
    keys = [UserKeys(f"user {i}") for i in range(7)]
    await filled.client.send(
        [
            ("SETRANGE", keys[0].accumulator(ENCODER), 0, struct.pack(">i", 7)),
            ("SETRANGE", keys[1].accumulator(ENCODER), 1536, struct.pack(">I", 9)),
            ("DEL", keys[2].accumulator(ENCODER)),
            ("HSET", keys[3].seen(ENCODER), "p0", "2:1"),
            ("DEL", keys[4].seen(ENCODER)),
            ("DEL", keys[5].log(ENCODER)),
            ("APPEND", keys[6].accumulator(ENCODER), "\0another"),
            ("HINCRBY", PopularityKeys(ENCODER).day(DAY), "u01p1", 3 << 40),
        ]
    )
    found = await Verifier(filled).verify()
    assert {user for user, _, _ in found.problems} == {f"user {i}" for i in range(7)}
    assert found.popularity[ENCODER]
    assert not found.clean
    mended = await Verifier(filled).verify(repair=True)
    assert mended.repaired
    assert (await Verifier(filled).verify()).clean
    users = await filled.read(SPACE, ["user 0", "user 2", "user 5"])
    assert users.counts.tolist() == [3, 3, 0]
    np.testing.assert_array_equal(users.sums[1], np.sum([hash_vector(f"r{i}") for i in range(3)], axis=0, dtype=int))


@pytest.mark.parametrize("version", [1, 2])
async def test_a_store_of_an_earlier_schema_is_migrated(filled: RedisUserStore, version: int) -> None:
    before = await filled.read(SPACE, [f"user {i}" for i in range(9)])
    [snapshot] = await filled.snapshots(ENCODER, ["user 1"])
    vector = np.ones(64, np.float32)
    await filled.keep_als(SPACE, [FoldedIn("user 1", snapshot.changed_us, vector, AlsOrigin.FOLDED_IN)])
    # As those versions left it: the products in the ALS records, and before version 2 neither they nor counters.
    async for names in filled.client.scan("tt:{u:*}:acc:*"):
        for name in names:
            await filled.client.one("SET", name, (await filled.client.one("GET", name))[:1548])
    if version == 1:
        async for names in filled.client.scan("tt:{pop}*"):
            await filled.client.send([("DEL", name) for name in names])
    else:
        await filled.client.one("APPEND", UserKeys("user 1").als(SPACE.als_id), "p0\0p1\0p2")
    await filled.client.one("SET", SCHEMA_KEY, version)
    with pytest.raises(StoreUnavailable, match="twotower migrate"):
        await filled.active_release()
    for _ in range(2):
        await Verifier(filled).migrate()
        assert await filled.active_release() == ActiveRelease()
    users = await filled.read(SPACE, [f"user {i}" for i in range(9)])
    assert users.seen_product_ids == before.seen_product_ids == [["p0", "p1", "p2"]] * 9
    np.testing.assert_array_equal(users.sums, before.sums)
    assert users.als_origins[1] == (AlsOrigin.MISSING if version == 1 else AlsOrigin.FOLDED_IN)
    assert (await Verifier(filled).verify()).clean
    assert await filled.client.one("HLEN", PopularityKeys(ENCODER).day(DAY)) == 3
