"""Memory of users, as Redis counts it."""

import numpy as np

from embedding_service.operations.usage import usage
from embedding_service.ports import AlsOrigin, FoldedIn
from embedding_service.redis_store.user_store import RedisUserStore
from tests.support.stored_reviews import ENCODER, SPACE


async def test_a_warm_user_takes_no_more_than_is_promised(filled: RedisUserStore) -> None:
    users = [f"user {i}" for i in range(9)]
    versions = [snapshot.changed_us for snapshot in await filled.snapshots(ENCODER, users)]
    vector = np.ones(64, np.float32)
    await filled.keep_als(
        SPACE, [FoldedIn(*pair, vector, AlsOrigin.FOLDED_IN) for pair in zip(users, versions, strict=True)]
    )
    found = await usage(filled.client)
    assert found.users == 10
    assert found.keys == {"acc": 10, "log": 10, "seen": 10, "als": 9}
    assert sum(found.bytes_of(kind) for kind in ("acc", "seen", "als")) / found.users <= 2700
