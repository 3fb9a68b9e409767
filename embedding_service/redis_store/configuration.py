"""What the configuration of a Redis that is not the service's own would lose: refused, or warned of."""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Final

from redis.exceptions import NoPermissionError

from embedding_service.redis_store.client import RedisClient
from twotower.errors import StoreUnavailable

_LOG = logging.getLogger(__name__)
_AWAY_S: Final = 1.0
_PERIOD_S: Final = 30.0


class Configuration:
    """Looks at Redis' configuration, as soon as it answers and now and then.

    Args:
        client: of Redis.
        wait_replicas: replicas that must confirm a write.
    """

    def __init__(self, client: RedisClient, wait_replicas: int) -> None:
        self._client = client
        self._wait_replicas = wait_replicas
        self._said: list[str] = []
        self.refusal = ""
        """Why this Redis must not be used; empty if it may, or has not answered yet."""

    async def check(self) -> bool:
        """Look once; false if Redis does not answer.

        Logs a warning when there is a new one. A user who may not ask gets none.

        Raises:
            StoreUnavailable: it evicts keys.
        """
        try:
            info = await self._client.server_info()
        except StoreUnavailable as error:
            if isinstance(error.__cause__, NoPermissionError):
                if not self._said:
                    _LOG.info("Redis' configuration is not checked: %s", error.__cause__)
                self._said = [str(error)]
                return True
            return False
        warnings = replica_warnings(info, self._wait_replicas)
        for warning in warnings:
            if warning not in self._said:
                _LOG.warning("%s", warning)
        self._said = warnings
        self.refusal = eviction(info)
        if self.refusal:
            raise StoreUnavailable(self.refusal)
        return True

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            before = self.refusal
            try:
                answered = await self.check()
            except StoreUnavailable as error:
                answered = True
                if self.refusal != before:
                    _LOG.error("%s", error)
            await asyncio.sleep(_PERIOD_S if answered else _AWAY_S)


def eviction(primaries: Iterable[Mapping[str, str]]) -> str:
    """A sentence with what to set if a primary evicts keys; otherwise empty.

    Args:
        primaries: what INFO says, of every primary.
    """
    policies = sorted({info.get("maxmemory_policy", "noeviction") for info in primaries} - {"noeviction"})
    if not policies:
        return ""
    return (
        f"Redis would drop users' reviews when its memory is full, because its maxmemory-policy is "
        f"{', '.join(policies)}: set maxmemory-policy noeviction"
    )


def replica_warnings(primaries: Iterable[Mapping[str, str]], wait_replicas: int) -> list[str]:
    """Sentences with what to set.

    Args:
        primaries: what INFO says, of every primary.
        wait_replicas: replicas that must confirm a write.
    """
    replicas = min((int(info.get("connected_slaves", 0)) for info in primaries), default=0)
    if not replicas or wait_replicas:
        return []
    return [
        f"Redis has replicas that confirm no write, and a failover may lose reviews that were acknowledged: "
        f"set --redis-wait-replicas {replicas}, the number of the replicas"
    ]
