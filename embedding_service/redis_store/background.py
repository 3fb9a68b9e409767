"""Work that goes on as long as the service runs."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from twotower.errors import StoreUnavailable

_LOG = logging.getLogger(__name__)


async def repeat(
    name: str,
    work: Callable[[], Awaitable[object]],
    *,
    period_s: float,
    woken: asyncio.Event | None = None,
    pause_s: float = 0.0,
    retry_s: float = 0.5,
) -> None:
    """Do some work at once and then again and again, until cancelled; an error does not end it.

    Args:
        name: what the work is, for the log.
        work: one round.
        period_s: from the end of a round to the next one.
        woken: set by whoever has more work; the next round then begins at once.
        pause_s: but not earlier than this.
        retry_s: from the end of a round that found the store away to the next one.
    """
    woken = woken or asyncio.Event()
    while True:
        woken.clear()
        try:
            await work()
        except StoreUnavailable as error:
            # What woke this round is still to be done.
            _LOG.debug("%s: %s", name, error)
            await asyncio.sleep(max(pause_s, retry_s))
            continue
        except Exception:
            _LOG.exception("%s: unexpected error", name)
        await asyncio.sleep(pause_s)
        # Not wait_for, which in Python 3.11 may swallow a cancellation that comes with the event.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(period_s):
                await woken.wait()
