"""``python -m embedding_service``: one process, until SIGTERM."""

from embedding_service.settings import EmbeddingSettings
from twotower.service import read_settings, run_service


def main() -> None:
    """Read the settings and serve."""
    settings = read_settings("embedding_service", EmbeddingSettings)
    from embedding_service.bootstrap import serve

    run_service("embedding_service", settings, serve)


if __name__ == "__main__":
    main()
