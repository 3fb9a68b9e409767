"""One serving process, from its settings to its end."""

import asyncio
import logging
import signal
import sys

from ranking_service.settings import RankingSettings
from twotower import rpc
from twotower.errors import TwotowerError
from twotower.logs import configure_logging

_LOG = logging.getLogger(__name__)


async def serve(settings: RankingSettings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        TwotowerError: the release asked for can't be served.
    """
    from ranking_service.bootstrap import RankingService

    service = RankingService(settings, reuse_port=settings.workers > 1)
    starting = asyncio.create_task(service.start())
    stopping = asyncio.create_task(_signalled())
    try:
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
        await stopping
    finally:
        starting.cancel()
        await service.stop()


async def _signalled() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()


def run(settings: RankingSettings) -> None:
    """Serve; a problem at start is one line and exit code 1."""
    # Whoever waits for the interpreter's lock gets it after half a millisecond instead of five.
    sys.setswitchinterval(0.0005)
    try:
        configure_logging("ranking_service", settings.log_level)
        rpc.run(serve(settings))
    except (TwotowerError, OSError, RuntimeError) as error:
        sys.exit(f"ranking_service: {error}")
