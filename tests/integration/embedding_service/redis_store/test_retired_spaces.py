"""Retired spaces are dropped whole, and no others."""

import asyncio
from pathlib import Path

import numpy as np

from embedding_service.operations.verify import Verifier
from embedding_service.ports import ImportedUser, Space
from embedding_service.redis_store.client import connect
from embedding_service.redis_store.embedded import RedisServer
from embedding_service.redis_store.keys import DROP_LOCK_KEY
from embedding_service.redis_store.user_store import RedisUserStore
from tests.support.embedding_calls import StartService, features, imported_user, publish
from tests.support.encoders import hash_vector
from tests.support.releases import write_random_release
from tests.support.stored_reviews import SPACE, new_review
from twotower.release import Release
from twotower.v1 import embedding_service_pb2 as pb


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


async def test_only_its_owner_gives_the_lock_of_dropping_back(filled: RedisUserStore) -> None:
    await filled.retire_spaces([])
    await filled.client.one("SET", DROP_LOCK_KEY, "another service", "PX", 60_000)
    assert await filled.retired_spaces.drop() == 0
    assert await filled.client.one("GET", DROP_LOCK_KEY) == b"another service"
    await filled.client.one("DEL", DROP_LOCK_KEY)
    assert await filled.retired_spaces.drop()
    assert not await filled.client.one("EXISTS", DROP_LOCK_KEY)


async def test_the_releases_that_answer_keep_their_spaces(
    start_service: StartService, redis_server: RedisServer, release: Release, other_release: Release, releases: Path
) -> None:
    third = write_random_release(releases, seed=2, products=30)
    service = await start_service(store=redis_server.url, keep_als_hours=0)
    store = RedisUserStore(connect(redis_server.url, timeout_s=5.0, connections=2))
    ids = [one.manifest.als_id for one in (release, other_release, third)]
    for one in (release, other_release, third):
        await publish(service, one, [imported_user("warm", ["a", "b"])])
    await service.stub.RetireSpaces(pb.RetireSpacesRequest(release_id=third.release_id))
    while await keys_of(store, ids[0]):  # noqa: ASYNC110 - Redis tells nobody
        await asyncio.sleep(0.01)
    assert [await keys_of(store, of) for of in ids] == [0, 1, 1]
    assert (await features(service, "warm")).review_count == 2
    await store.close()
