"""How much memory users take in Redis."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from embedding_service.redis_store.client import RedisClient
from embedding_service.redis_store.keys import ACCUMULATOR_KIND, USER_PATTERN, unpack_key

SAMPLE_EVERY: Final = 20


@dataclass
class Usage:
    """Memory by kind of key (``acc``, ``log``, ``seen``, ``als``, ``shared``, ``gone``).

    Attributes:
        users: with any state.
        keys: kind → keys.
        sampled: kind → keys that Redis was asked for the size of.
        sampled_bytes: kind → bytes that these take, key and bookkeeping included.
    """

    users: int = 0
    keys: Counter[str] = field(default_factory=Counter)
    sampled: Counter[str] = field(default_factory=Counter)
    sampled_bytes: Counter[str] = field(default_factory=Counter)

    def bytes_of(self, kind: str) -> float:
        """Estimated bytes of all keys of a kind."""
        return self.keys[kind] * self.sampled_bytes[kind] / max(self.sampled[kind], 1)


async def usage(client: RedisClient) -> Usage:
    """Ask Redis for the memory of every twentieth key of each kind, and of the first twenty.

    Raises:
        StoreUnavailable.
    """
    memory = Usage()
    users: set[str] = set()
    async for keys in client.scan(USER_PATTERN):
        sample = []
        for key in keys:
            user_id, kind, _ = unpack_key(key)
            if kind == ACCUMULATOR_KIND:
                users.add(user_id)
            if memory.keys[kind] % SAMPLE_EVERY == 0 or memory.keys[kind] < SAMPLE_EVERY:
                sample.append((kind, key))
            memory.keys[kind] += 1
        replies = await client.send([("MEMORY USAGE", key) for _, key in sample])
        for (kind, _), size in zip(sample, replies, strict=True):
            memory.sampled[kind] += 1
            memory.sampled_bytes[kind] += size or 0
    memory.users = len(users)
    return memory
