"""``python -m embedding_service``: one process, until SIGTERM."""

import sys

from pydantic import ValidationError
from pydantic_settings import CliApp

from embedding_service.settings import EmbeddingSettings
from twotower.grpc_environment import prepare_grpc


def main() -> None:
    """Read the settings and serve."""
    try:
        settings = CliApp.run(EmbeddingSettings)
    except ValidationError as error:
        problems = (
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}".removeprefix(": ") for problem in error.errors()
        )
        sys.exit(f"embedding_service: {'; '.join(problems)}")
    prepare_grpc()
    from embedding_service.process import run

    run(settings)


if __name__ == "__main__":
    main()
