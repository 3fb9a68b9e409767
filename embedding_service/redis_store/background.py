"""Work that goes on as long as the service runs."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

from twotower.errors import StoreUnavailable

_LOG = logging.getLogger(__name__)
_FIRST_RESTART_S: Final = 0.5
_LAST_RESTART_S: Final = 30.0


async def supervised(name: str, run: Callable[[], Awaitable[None]]) -> None:
    """Run some work that goes on until it returns; where it ends with an error, say so and start it again."""
    delay_s = _FIRST_RESTART_S
    while True:
        began = time.monotonic()
        try:
            await run()
            return
        except Exception as error:
            if time.monotonic() - began > 2 * _LAST_RESTART_S:
                delay_s = _FIRST_RESTART_S
            reason = f"{type(error).__name__}: {error}"
            _LOG.warning("%s ended and begins again in %.1f s: %s", name, delay_s, reason, exc_info=error)
        await asyncio.sleep(delay_s)
        delay_s = min(2 * delay_s, _LAST_RESTART_S)


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
    trouble = ""
    while True:
        woken.clear()
        try:
            await work()
        except StoreUnavailable as error:
            # What woke this round is still to be done.
            if str(error) != trouble:
                cause = str(error.__cause__ or "")
                _LOG.warning("%s: %s", name, str(error) if cause in str(error) else f"{error} ({cause})")
            trouble = str(error)
            await asyncio.sleep(max(pause_s, retry_s))
            continue
        except Exception:
            _LOG.exception("%s: unexpected error", name)
        else:
            if trouble:
                _LOG.info("%s goes on", name)
            trouble = ""
        await asyncio.sleep(pause_s)
        # Not wait_for, which in Python 3.11 may swallow a cancellation that comes with the event.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(period_s):
                await woken.wait()
