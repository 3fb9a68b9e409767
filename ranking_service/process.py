"""One serving process, from its settings to its end."""

import asyncio
import sys
from functools import partial

from ranking_service.settings import RankingSettings
from twotower.rpc import wait_for_signal
from twotower.service import run_service


async def serve(settings: RankingSettings, page_token_key: bytes | None = None) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        settings: of this process.
        page_token_key: shared with the other workers; None if there are none.

    Raises:
        TwotowerError: the release asked for can't be served.
    """
    from ranking_service.bootstrap import RankingService

    service = RankingService(settings, reuse_port=settings.workers > 1, page_token_key=page_token_key)
    starting = asyncio.create_task(service.start())
    stopping = asyncio.create_task(wait_for_signal())
    try:
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
        await stopping
    finally:
        starting.cancel()
        await service.stop()


def run(settings: RankingSettings, page_token_key: bytes | None = None) -> None:
    """Serve in this process, which may be one of several."""
    # Whoever waits for the interpreter's lock gets it after half a millisecond instead of five.
    sys.setswitchinterval(0.0005)
    run_service("ranking_service", settings, partial(serve, page_token_key=page_token_key))
