"""The use case of switching releases: which one is active, and whose spaces can be asked for beside it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from embedding_service.ports import ActiveRelease, Space, UserStore
from embedding_service.releases.spaces import LoadedRelease, Spaces
from twotower.errors import SpaceMismatch

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Retired:
    """Spaces that are retired and not dropped yet."""

    encoder_ids: Sequence[str]
    als_ids: Sequence[str]


class Activation:
    """Prepares releases, makes them active and retires spaces, one change at a time.

    Every change is written to the store first: if the store is away, this process and the next one agree on what was.

    Args:
        store: users' state, and which releases answer.
        spaces: loaded releases.
    """

    def __init__(self, store: UserStore, spaces: Spaces) -> None:
        self._store = store
        self._spaces = spaces

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
        async with self._spaces.opened(release_id) as release:
            if space != release.space:
                raise SpaceMismatch(f"space: release {release_id} has {release.space}, the request says {space}")
            await self._check_encoder(release)
            await self.hold(release)
        return release

    async def activate(self, release_id: str) -> LoadedRelease:
        """Make a release the active one.

        Raises:
            NotFound, ReleaseInvalid, SpaceMismatch, StoreUnavailable: as :meth:`prepare`.
        """
        async with self._spaces.opened(release_id) as release:
            await self._check_encoder(release)
            if self._spaces.current.release_id != release_id:
                await self.make_active(release)
        return release

    async def retire(self, release_id: str, served_ids: Sequence[str]) -> Retired:
        """Retire every space that can't be asked for, now that ranking has moved to a release.

        Args:
            release_id: the active one, as the caller believes.
            served_ids: releases that ranking serves under any label.

        Raises:
            SpaceMismatch: another release is active, or one that ranking serves can't be asked for; nothing is retired.
            StoreUnavailable: some spaces may be retired.
        """
        async with self._spaces.changing:
            active = await self._store.active_release()
            if active.release_id != release_id or self._spaces.current != active:
                raise SpaceMismatch(
                    f"release_id: {release_id} is not the active release, {active.release_id or 'none'} is; nothing is "
                    "retired"
                )
            if missing := sorted(set(served_ids) - set(active.held_ids)):
                raise SpaceMismatch(
                    f"served_release_ids: ranking serves {', '.join(missing)}, which can't be asked for; nothing is "
                    "retired"
                )
            retired = Retired(*await self._store.retire_spaces(self._spaces.loaded))
        _LOG.info("retired: encoders %s, ALS spaces %s", retired.encoder_ids, retired.als_ids)
        return retired

    async def hold(self, release: LoadedRelease) -> None:
        """Keep a loaded release as a prepared one.

        Raises:
            StoreUnavailable: nothing was changed.
        """
        async with self._spaces.changing:
            current = await self._store.active_release()
            await self._change(current.with_prepared(release.release_id), release)
        _LOG.info("release %s is prepared", release.release_id)

    async def make_active(self, release: LoadedRelease) -> None:
        """Make a loaded release the active one. No space is dropped: ranking may still serve any of them.

        Raises:
            StoreUnavailable: nothing was changed.
        """
        async with self._spaces.changing:
            current = await self._store.active_release()
            await self._change(current.with_active(release.release_id), release)
        _LOG.info("release %s is active", release.release_id)

    async def _check_encoder(self, release: LoadedRelease) -> None:
        encoder_id = release.space.encoder_id
        held = {held.space.encoder_id for held in self._spaces.held}
        if held and encoder_id not in held and encoder_id not in await self._store.encoder_ids():
            raise SpaceMismatch(
                f"users have no embeddings of encoder {encoder_id!r}, which release {release.release_id} needs: "
                f"run `twotower publish {release.release_id}`"
            )

    async def _change(self, active: ActiveRelease, release: LoadedRelease) -> None:
        await self._store.register_space(release.space)
        await self._store.activate(active)
        await self._spaces.follow(active)
