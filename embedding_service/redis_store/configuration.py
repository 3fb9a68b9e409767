"""What the configuration of a Redis that is not the service's own would lose, said once at start."""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Final

from redis.exceptions import NoPermissionError

from embedding_service.redis_store.client import RedisClient
from twotower.errors import StoreUnavailable

_LOG = logging.getLogger(__name__)
_PAUSE_S: Final = 1.0


async def warn_of_configuration(client: RedisClient, wait_replicas: int) -> None:
    """Log the warnings as soon as Redis answers; a user who may not ask gets none."""
    while True:
        try:
            info = await client.server_info()
        except StoreUnavailable as error:
            if isinstance(error.__cause__, NoPermissionError):
                _LOG.info("Redis' configuration is not checked: %s", error.__cause__)
                return
            await asyncio.sleep(_PAUSE_S)
            continue
        for warning in configuration_warnings(info, wait_replicas):
            _LOG.warning("%s", warning)
        return


def configuration_warnings(primaries: Iterable[Mapping[str, str]], wait_replicas: int) -> list[str]:
    """Sentences with what to set.

    Args:
        primaries: what INFO says, of every primary.
        wait_replicas: replicas that must confirm a write.
    """
    primaries = list(primaries)
    warnings = [
        f"Redis drops users' reviews when its memory is full, because its maxmemory-policy is {policy}: "
        "set maxmemory-policy noeviction"
        for policy in sorted({info.get("maxmemory_policy", "noeviction") for info in primaries} - {"noeviction"})
    ]
    replicas = min((int(info.get("connected_slaves", 0)) for info in primaries), default=0)
    if replicas and not wait_replicas:
        warnings.append(
            f"Redis has replicas that confirm no write, and a failover may lose reviews that were acknowledged: "
            f"set --redis-wait-replicas {replicas}, the number of the replicas"
        )
    return warnings
