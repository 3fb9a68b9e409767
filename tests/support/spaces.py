"""An embedding service that holds spaces in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ranking_service.upstream.user_spaces import UserSpaces
from twotower.errors import TwotowerError
from twotower.v1 import embedding_service_pb2, types_pb2


@dataclass
class MemorySpaces:
    """Prepares and activates whatever it is asked for, and notes it; fails when told to."""

    failure: TwotowerError | None = None
    activation_failure: TwotowerError | None = None
    prepared: list[str] = field(default_factory=list)
    active: str = ""

    async def prepare_space(self, release_id: str, space: types_pb2.EmbeddingSpace) -> None:
        """Note it."""
        if self.failure:
            raise self.failure
        self.prepared.append(release_id)

    async def activate_release(self, release_id: str) -> None:
        """Note it."""
        if self.activation_failure:
            raise self.activation_failure
        self.active = release_id

    async def list_spaces(self) -> Sequence[embedding_service_pb2.LoadedSpace]:
        """List none."""
        return []


def any_space() -> UserSpaces:
    """An embedding service that has every space."""
    return UserSpaces(MemorySpaces())
