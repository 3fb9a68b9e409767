"""``python -m embedding_service``: one process, until SIGTERM."""

import sys

from pydantic import ValidationError
from pydantic_settings import CliApp

from embedding_service.bootstrap import running_service
from embedding_service.settings import Settings
from twotower.errors import TwotowerError
from twotower.rpc import run
from twotower.telemetry import configure_logging


async def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT, then drain and stop."""
    async with running_service(settings) as server:
        await server.run_until_signal()


def main() -> None:
    """Read settings, serve; a problem at start is one line and exit code 1."""
    try:
        settings = CliApp.run(Settings)
        configure_logging("embedding_service", settings.log_level)
        run(serve(settings))
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}".removeprefix(": ") for problem in error.errors())
        sys.exit(f"embedding_service: {'; '.join(problems)}")
    except (TwotowerError, OSError, RuntimeError) as error:
        sys.exit(f"embedding_service: {error}")


if __name__ == "__main__":
    main()
