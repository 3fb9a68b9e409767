"""One serving process, from its settings to its end."""

import sys

from embedding_service.bootstrap import running_service
from embedding_service.settings import EmbeddingSettings
from twotower import rpc
from twotower.errors import TwotowerError
from twotower.logs import configure_logging


async def serve(settings: EmbeddingSettings) -> None:
    """Run until SIGTERM or SIGINT, then drain and stop."""
    async with running_service(settings) as server:
        await server.run_until_signal()


def run(settings: EmbeddingSettings) -> None:
    """Serve; a problem at start is one line and exit code 1."""
    try:
        configure_logging("embedding_service", settings.log_level)
        rpc.run(serve(settings))
    except (TwotowerError, OSError, RuntimeError) as error:
        sys.exit(f"embedding_service: {error}")
