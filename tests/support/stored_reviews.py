"""Reviews for the port of users' state, and what the popularity counters hold of them."""

from embedding_service.ports import NewReview, Space
from embedding_service.redis_store.popularity_store import RedisPopularityStore
from embedding_service.redis_store.user_store import RedisUserStore
from tests.support.encoders import hash_vector

SPACE = Space("encoder-1", "als-1")
ENCODER = SPACE.encoder_id


def new_review(review_id: str, product: str = "p1", time_s: float = 1e9, user_id: str = "u1") -> NewReview:
    """A review of four stars, whose digest tells product and time."""
    digest = f"{product} {time_s}".encode().ljust(16)[:16]
    return NewReview(user_id, review_id, product, 4.0, round(time_s * 1e6), hash_vector(review_id), digest)


async def counts(store: RedisUserStore) -> dict[str, int]:
    """Number of reviews per product in the counters."""
    popularity = RedisPopularityStore(store.client, store.outboxes)
    await popularity.settle()
    hourly = await popularity.hours_of_days(ENCODER, await popularity.all_days(ENCODER))
    totals: dict[str, int] = {}
    for name, count in zip(hourly.product_ids, hourly.counts.tolist(), strict=True):
        totals[name] = totals.get(name, 0) + count
    return totals
