"""The reader that others copy, which spells keys and offsets itself, reads what the service's layouts write."""

import numpy as np

from clients.redis_reader import read_user
from embedding_service.ports import AlsOrigin
from embedding_service.redis_store.keys import SCHEMA_KEY, SCHEMA_VERSION, UserKeys
from embedding_service.redis_store.layouts import (
    pack_als_record,
    pack_products,
    pack_stamp,
    pack_sums_and_counts,
    unpack_products,
)
from twotower.features import running_mean

USER = "100% {me}"
CHANGED_US = 1_700_000_000_000_001


class Values(dict[str, bytes]):
    """The commands of Redis that `read_user` calls."""

    def mget(self, *names: str) -> list[bytes | None]:
        """The values of keys."""
        return [self.get(name) for name in names]


def test_the_reader_reads_what_the_layouts_write() -> None:
    rng = np.random.default_rng(0)
    sums = rng.integers(-(2**31) + 1, 2**31, 384, dtype=np.int64).astype(np.int32)
    vector = rng.normal(size=64).astype(np.float32)
    [sums_and_count] = pack_sums_and_counts([sums], [70_000])
    keys = UserKeys(USER)
    values = Values({SCHEMA_KEY: str(SCHEMA_VERSION).encode()})
    products = pack_products(["b", "ä", "x", "a"]) + b"\0\xffx\0c\0\xffc\0c"
    values[keys.accumulator("enc")] = sums_and_count + pack_stamp(CHANGED_US) + products
    values[keys.als("als")] = pack_als_record(vector, CHANGED_US, AlsOrigin.FOLDED_IN)

    user = read_user(values, USER, "enc", "als")
    assert user is not None
    assert user.als is not None
    assert user.review_count == 70_000
    assert user.seen_product_ids == ["b", "ä", "a", "c"]
    assert unpack_products(values[keys.accumulator("enc")]) == ["a", "b", "c", "ä"]
    np.testing.assert_array_equal(user.bert_mean, running_mean(sums, 70_000))
    np.testing.assert_array_equal(user.als, vector)

    values[keys.accumulator("enc")] = sums_and_count + pack_stamp(CHANGED_US + 1) + products
    stale = read_user(values, USER, "enc", "als")
    assert stale is not None
    assert stale.als is None
    assert stale.seen_product_ids == user.seen_product_ids
