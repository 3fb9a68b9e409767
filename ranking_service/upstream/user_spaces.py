"""Whether the embedding service has users for a release: asked before a release is served, and again on a mismatch."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from ranking_service.release.served import ServedRelease
from twotower.errors import EmbeddingUnavailable, NotFound, SpaceMismatch, TwotowerError
from twotower.v1 import embedding_service_pb2, types_pb2

_LOG = logging.getLogger(__name__)
_ALARM_S: Final = 60.0


class SpaceSource(Protocol):
    """Holds spaces; :class:`ranking_service.upstream.embedding_client.EmbeddingClient` is one."""

    async def prepare_space(self, release_id: str, space: types_pb2.EmbeddingSpace) -> None:
        """Let a space be asked for; raises EmbeddingUnavailable, SpaceMismatch or NotFound."""

    async def activate_release(self, release_id: str) -> None:
        """Make a release the active one; raises as :meth:`prepare_space`."""

    async def list_spaces(self) -> Sequence[embedding_service_pb2.LoadedSpace]:
        """List the spaces that can be asked for; raises EmbeddingUnavailable."""


class UserSpaces:
    """Keeps the embedding service in step with the releases that are served.

    Args:
        source: the embedding service.
        clock: seconds, monotonic.
    """

    def __init__(self, source: SpaceSource, clock: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._clock = clock
        self._alarmed_at: dict[str, float] = {}
        self._healing: set[asyncio.Task[None]] = set()

    async def prepare(self, release_id: str, space: types_pb2.EmbeddingSpace) -> bool:
        """Have the embedding service answer for a release's space.

        Returns:
            False if it is away, or too old to be asked.

        Raises:
            SpaceMismatch: it has no users for the space; says what to do.
        """
        try:
            await self._source.prepare_space(release_id, space)
        except EmbeddingUnavailable as error:
            _LOG.warning("whether the embedding service has users for release %s is not known: %s", release_id, error)
            return False
        except (NotFound, SpaceMismatch) as error:
            hint = f"`twotower publish {release_id}`"
            raise SpaceMismatch(
                f"the embedding service has no users for release {release_id}: {error}"
                + ("" if hint in str(error) else f"; run {hint}, which sends them")
            ) from error
        return True

    async def activate(self, release_id: str) -> None:
        """Make a release the active one of the embedding service too.

        Raises:
            EmbeddingUnavailable, SpaceMismatch, NotFound.
        """
        await self._source.activate_release(release_id)

    async def held(self) -> Sequence[embedding_service_pb2.LoadedSpace] | None:
        """List what the embedding service holds; None if it does not say."""
        try:
            return await self._source.list_spaces()
        except EmbeddingUnavailable as error:
            _LOG.debug("what the embedding service holds is not known: %s", error)
            return None

    def mismatched(self, served: ServedRelease, error: SpaceMismatch) -> None:
        """Log that users of a served release are answered as cold ones, once per minute, and try to mend it."""
        now = self._clock()
        if now - self._alarmed_at.get(served.release_id, -_ALARM_S) < _ALARM_S:
            return
        self._alarmed_at[served.release_id] = now
        _LOG.error(
            "release %s is served, but the embedding service does not have its space, so that all users are answered "
            "as cold ones: %s",
            served.release_id,
            error,
        )
        task = asyncio.get_running_loop().create_task(self._heal(served))
        self._healing.add(task)
        task.add_done_callback(self._healing.discard)

    async def _heal(self, served: ServedRelease) -> None:
        try:
            if await self.prepare(served.release_id, served.space):
                _LOG.info("the embedding service answers for release %s again", served.release_id)
        except TwotowerError as error:
            _LOG.error("%s", error)
