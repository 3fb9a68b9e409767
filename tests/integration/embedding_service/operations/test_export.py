"""The table of users is what the service answers."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from embedding_service.operations.export import export_users
from embedding_service.ports import Space
from embedding_service.redis_store.client import connect
from embedding_service.redis_store.embedded import RedisServer
from embedding_service.redis_store.user_store import RedisUserStore
from tests.support.embedding_calls import StartService, features, imported_user, publish, record
from tests.support.encoders import hash_vector
from tests.support.releases import product_id
from twotower.features import running_mean
from twotower.release import Release


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
