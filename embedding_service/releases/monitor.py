"""Keeps the service's health true: watches the store, and follows the active release that it names."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final

from embedding_service.ports import UserStore
from embedding_service.releases.spaces import Spaces
from twotower.errors import StoreUnavailable, TwotowerError

_LOG = logging.getLogger(__name__)
_MAX_DELAY_S: Final = 5.0


class Monitor:
    """Asks the store every `interval_s` which release is active.

    While the store is away, no release is active, or the active one can't be loaded, health is NOT_SERVING; it turns
    SERVING again by itself. A release that another replica of the service made active is loaded here too.

    Args:
        store: users' state.
        spaces: loaded releases.
        set_serving: sets health to SERVING or NOT_SERVING.
        describe: the store in words, without secrets.
        interval_s: time between two questions, give or take a quarter; longer while the store is away.
    """

    def __init__(
        self,
        store: UserStore,
        spaces: Spaces,
        set_serving: Callable[[bool], Awaitable[None]],
        *,
        describe: str,
        interval_s: float = 0.5,
    ) -> None:
        self._store = store
        self._spaces = spaces
        self._set_serving = set_serving
        self._describe = describe
        self._interval_s = interval_s
        self._problem = ""

    async def run(self) -> None:
        """Watch until cancelled."""
        delay_s = self._interval_s
        while True:
            try:
                serving = await self._follow()
            except TwotowerError as error:
                await self._set_serving(False)
                delay_s = min(delay_s * 1.5, _MAX_DELAY_S) if isinstance(error, StoreUnavailable) else _MAX_DELAY_S
                cause = str(error.__cause__ or "")
                self._report(str(error) if cause in str(error) else f"{error} ({cause})")
            except Exception:
                _LOG.exception("unexpected error while watching the store")
                await self._set_serving(False)
            else:
                delay_s = self._interval_s
                await self._set_serving(serving)
                self._report("" if serving else "no release is active; waiting for `twotower publish`")
            # With jitter, so that replicas don't come back all at once.
            await asyncio.sleep(delay_s * random.uniform(0.75, 1.25))  # noqa: S311 - jitter

    async def _follow(self) -> bool:
        if await self._store.active_release() != self._spaces.current:
            async with self._spaces.changing:
                # Read again: a change of this process' own may have ended meanwhile.
                active = await self._store.active_release()
                await self._spaces.follow(active)
        return bool(self._spaces.current.release_id)

    def _report(self, problem: str) -> None:
        if problem == self._problem:
            return
        self._problem = problem
        if problem:
            _LOG.warning("%s: %s", self._describe, problem)
        else:
            _LOG.info("%s: answering", self._describe)
