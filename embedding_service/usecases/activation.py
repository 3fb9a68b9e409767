"""The use case of switching releases: which one is active, and whose spaces can be asked for beside it."""

import asyncio
import logging

from embedding_service.ports import ActiveRelease, Space, UserStore
from embedding_service.releases.spaces import LoadedRelease, Spaces
from twotower.errors import SpaceMismatch

_LOG = logging.getLogger(__name__)


class Activation:
    """Prepares releases and makes them active, one change at a time.

    Every change is written to the store first: if the store is away, this process and the next one agree on what was.

    Args:
        store: users' state, and which releases answer.
        spaces: loaded releases.
    """

    def __init__(self, store: UserStore, spaces: Spaces) -> None:
        self._store = store
        self._spaces = spaces
        self._changing = asyncio.Lock()

    @property
    def held(self) -> list[LoadedRelease]:
        """The releases whose spaces can be asked for, the active one first."""
        return self._spaces.held

    @property
    def current(self) -> ActiveRelease:
        """What each of them is held for."""
        return self._spaces.current

    async def prepare(self, release_id: str, space: Space) -> LoadedRelease:
        """Let a release's space be asked for; return what answers for it, which may be another release.

        Raises:
            NotFound, ReleaseInvalid: the release is not there or must not be served.
            SpaceMismatch: it has another space, or users have no embeddings of its encoder.
            StoreUnavailable: nothing was changed.
        """
        current = self._spaces.current
        for held in self._spaces.held:
            # One that was prepared first is prepared again: it is the newest then, and stays the longest.
            if held.space == space and held.release_id not in current.prepared_ids:
                return held
        release = await self._load(release_id)
        if space != release.space:
            raise SpaceMismatch(f"space: release {release_id} has {release.space}, the request says {space}")
        await self.hold(release)
        return release

    async def activate(self, release_id: str) -> LoadedRelease:
        """Make a release the active one.

        Raises:
            NotFound, ReleaseInvalid, SpaceMismatch, StoreUnavailable: as :meth:`prepare`.
        """
        release = await self._load(release_id)
        if self._spaces.current.release_id != release_id:
            await self.make_active(release)
        return release

    async def hold(self, release: LoadedRelease) -> None:
        """Keep a loaded release as a prepared one.

        Raises:
            StoreUnavailable: nothing was changed.
        """
        async with self._changing:
            await self._change(self._spaces.current.with_prepared(release.release_id), release)
        _LOG.info("release %s is prepared", release.release_id)

    async def make_active(self, release: LoadedRelease) -> None:
        """Make a loaded release the active one, and drop the spaces that nobody may ask for any more.

        Raises:
            StoreUnavailable: nothing was changed.
        """
        async with self._changing:
            await self._change(self._spaces.current.with_active(release.release_id), release)
            await self._store.retire_spaces(self._spaces.loaded)
        _LOG.info("release %s is active", release.release_id)

    async def _load(self, release_id: str) -> LoadedRelease:
        release = await self._spaces.load(release_id)
        encoders = {held.space.encoder_id for held in self._spaces.held}
        if encoders and release.space.encoder_id not in encoders:
            raise SpaceMismatch(
                f"users have no embeddings of encoder {release.space.encoder_id!r}, which release {release_id} needs: "
                f"run `twotower publish {release_id}`"
            )
        return release

    async def _change(self, active: ActiveRelease, release: LoadedRelease) -> None:
        await self._store.register_space(release.space)
        await self._store.activate(active)
        # Again: another change may have dropped it from memory meanwhile.
        await self._spaces.load(release.release_id)
        await self._spaces.switch(active)
