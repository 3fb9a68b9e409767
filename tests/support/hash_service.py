"""``python -m tests.support.hash_service``: the embedding service with the hash encoder, as a process that can be
killed.
"""

from embedding_service.bootstrap import running_service
from embedding_service.settings import EmbeddingSettings
from tests.support.encoders import HashEncoder
from twotower.encoder import encoder_id
from twotower.service import read_settings, run_service


async def serve(settings: EmbeddingSettings) -> None:
    """Run until SIGTERM."""
    async with running_service(settings, lambda path: HashEncoder(encoder_id(path))) as server:
        await server.run_until_signal()


if __name__ == "__main__":
    run_service("embedding_service", read_settings("embedding_service", EmbeddingSettings), serve)
