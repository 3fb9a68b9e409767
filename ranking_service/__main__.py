"""``python -m ranking_service``."""

import sys

from pydantic import ValidationError
from pydantic_settings import CliApp

from ranking_service.settings import RankingSettings
from ranking_service.workers import Workers
from twotower.grpc_environment import prepare_grpc
from twotower.logs import configure_logging


def main() -> None:
    """Read the settings and serve, in one process or in several."""
    try:
        settings = CliApp.run(RankingSettings)
    except ValidationError as error:
        problems = (
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}".removeprefix(": ") for problem in error.errors()
        )
        sys.exit(f"ranking_service: {'; '.join(problems)}")
    prepare_grpc()
    from ranking_service.process import run

    if settings.workers == 1:
        run(settings)
        return
    configure_logging("ranking_service", settings.log_level)
    sys.exit(Workers(settings, run).run())


if __name__ == "__main__":
    main()
