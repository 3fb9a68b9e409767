"""The reader of the Redis contract sees what the service answers."""

import numpy as np
import pytest
import redis

from clients.redis_reader import read_user
from embedding_service.redis_store.embedded import RedisServer
from tests.support.embedding_calls import StartService, array, features, imported_user, publish, record
from tests.support.releases import product_id
from twotower.release import Release


async def test_the_reader_sees_what_the_service_answers(
    start_service: StartService, redis_server: RedisServer, release: Release
) -> None:
    service = await start_service(store=redis_server.url)
    await publish(service, release, [imported_user("warm", ["a", "b"])])
    await record(service, "r1", "100% {braces}", product_id(3))
    space = release.manifest.encoder_id, release.manifest.als_id
    with redis.Redis.from_url(redis_server.url) as client:
        for user in ("warm", "100% {braces}"):
            online, stored = await features(service, user), read_user(client, user, *space)
            assert stored is not None
            assert stored.als is not None
            assert stored.review_count == online.review_count
            assert stored.seen_product_ids == list(online.seen_product_ids)
            np.testing.assert_array_equal(stored.bert_mean, array(online.bert_mean))
            np.testing.assert_array_equal(stored.als, array(online.als))
        assert read_user(client, "nobody", *space) is None
        client.set("tt:schema", 4)
        with pytest.raises(ValueError, match="schema version 3"):
            read_user(client, "warm", *space)
