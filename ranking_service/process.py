"""One serving process, from its settings to its end."""

import asyncio
import sys

from ranking_service.settings import RankingSettings
from twotower.rpc import wait_for_signal
from twotower.service import run_service


async def serve(settings: RankingSettings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        TwotowerError: the release asked for can't be served.
    """
    from ranking_service.bootstrap import RankingService

    service = RankingService(settings, reuse_port=settings.workers > 1)
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


def run(settings: RankingSettings) -> None:
    """Serve in this process, which may be one of several."""
    # Whoever waits for the interpreter's lock gets it after half a millisecond instead of five.
    sys.setswitchinterval(0.0005)
    run_service("ranking_service", settings, serve)
