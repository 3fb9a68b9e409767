"""``python -m ranking_service``: one process or several, until SIGTERM."""

import sys

from ranking_service.settings import RankingSettings
from ranking_service.workers import Workers
from twotower.service import configure_logging, read_settings


def main() -> None:
    """Read the settings and serve."""
    settings = read_settings("ranking_service", RankingSettings)
    from ranking_service.process import run
    from twotower.errors import InvalidFile

    if settings.workers == 1:
        run(settings)
        return
    configure_logging("ranking_service", settings.log_level)
    try:
        workers = Workers(settings, run)
    except InvalidFile as error:
        sys.exit(f"ranking_service: {error}")
    sys.exit(workers.run())


if __name__ == "__main__":
    main()
