"""What users take in Redis, and their state as a table."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from embedding_service.redis_store.client import RedisClient
from embedding_service.redis_store.keys import USER_PATTERN, unpack_key

SAMPLE_EVERY: Final = 20


@dataclass
class Usage:
    """Memory by kind of key (``acc``, ``log``, ``seen``, ``als``, ``shared``, ``gone``).

    Attributes:
        users: with any state.
        keys: kind → keys.
        sampled: kind → keys asked.
        sampled_bytes: kind → bytes that Redis says they take, key and bookkeeping included.
    """

    users: int = 0
    keys: Counter[str] = field(default_factory=Counter)
    sampled: Counter[str] = field(default_factory=Counter)
    sampled_bytes: Counter[str] = field(default_factory=Counter)

    def bytes_of(self, kind: str) -> float:
        """Estimate for all keys of a kind."""
        return self.keys[kind] * self.sampled_bytes[kind] / max(self.sampled[kind], 1)


async def usage(client: RedisClient) -> Usage:
    """Ask Redis for the memory of every twentieth key, and of the first ones of each kind.

    Raises:
        StoreUnavailable.
    """
    found = Usage()
    users: set[str] = set()
    async for keys in client.scan(USER_PATTERN):
        asked = []
        for key in keys:
            user, kind, _ = unpack_key(key)
            if kind == "acc":
                users.add(user)
            if found.keys[kind] % SAMPLE_EVERY == 0 or found.keys[kind] < SAMPLE_EVERY:
                asked.append((kind, key))
            found.keys[kind] += 1
        replies = await client.send([("MEMORY USAGE", key) for _, key in asked])
        for (kind, _), size in zip(asked, replies, strict=True):
            found.sampled[kind] += 1
            found.sampled_bytes[kind] += size or 0
    found.users = len(users)
    return found
