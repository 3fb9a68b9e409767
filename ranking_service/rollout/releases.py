"""Which release answers whom: releases are opened, verified and warmed up off the event loop, then swapped in."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from ranking_service.release.labels import POINTER, Labels, read_labels, write_labels
from ranking_service.release.registry import Registry, check_release_id
from ranking_service.release.served import ServedRelease
from ranking_service.upstream.user_spaces import UserSpaces
from twotower.errors import NotFound, NotReady, ReleaseInvalid, TwotowerError
from twotower.release import Manifest
from twotower.v1 import types_pb2

_LOG = logging.getLogger(__name__)
_MIN_RETRY_S: Final = 1.0
_MAX_RETRY_S: Final = 60.0
_ResultT = TypeVar("_ResultT")


class Releases:
    """The releases in memory and their labels.

    A release stays in memory while it has a label. A request holds the release that it began with until its answer is
    written, and the memory goes with the last of them.

    Args:
        registry: where the releases are.
        open_release: opens and warms up a release; runs in `executor`.
        executor: runs all that reads or compiles.
        on_serving: called after each swap.
        spaces: asked whether there are users for a release before it is served, and switched with it.
    """

    def __init__(
        self,
        registry: Registry,
        open_release: Callable[[Path], ServedRelease],
        executor: Executor,
        on_serving: Callable[[], Awaitable[None]],
        spaces: UserSpaces,
    ) -> None:
        self._registry = registry
        self._open = open_release
        self._executor = executor
        self._on_serving = on_serving
        self._spaces = spaces
        self._labels = Labels()
        self._written = Labels()
        self._served: Mapping[str, ServedRelease] = {}
        self._prepared: ServedRelease | None = None
        self._failed: Labels | None = None
        self._retry_at = self._retry_s = 0.0
        self._changing = asyncio.Lock()

    @property
    def current(self) -> ServedRelease:
        """The stable release.

        Raises:
            NotReady: none is loaded yet.
        """
        served = self._served.get(self._labels.stable)
        if served is None:
            raise NotReady("no release is loaded yet")
        return served

    @property
    def labels(self) -> Labels:
        """The labels as they are now."""
        return self._labels

    @property
    def canary(self) -> ServedRelease | None:
        """The release that answers a share of the users, if there is one."""
        return self._served.get(self._labels.canary)

    @property
    def shadow(self) -> ServedRelease | None:
        """The release that is compared, if there is one."""
        return self._served.get(self._labels.shadow)

    def in_memory(self) -> Sequence[ServedRelease]:
        """Return all releases that have a label."""
        return tuple(self._served.values())

    def for_user(self, user_id: str) -> ServedRelease:
        """Return the release that answers a user.

        Raises:
            NotReady: none is loaded yet.
        """
        canary = self.canary
        return canary if canary and self._labels.is_canary_user(user_id) else self.current

    def answering(self, release_id: str) -> ServedRelease | None:
        """Return a release by its id, if it is stable or canary."""
        return self._served.get(release_id) if release_id in (self._labels.stable, self._labels.canary) else None

    async def start(self, release_id: str | None) -> None:
        """Load the release to start with: the one given, else the one that the pointer file names, else none.

        Raises:
            NotFound, ReleaseInvalid: as :func:`ranking_service.release.served.open_served`. A canary or shadow that
                can't be served is only logged.
        """
        self._written = written = await self._in_executor(lambda: read_labels(self._registry))
        chosen = release_id or written.stable
        if not chosen:
            _LOG.info("no file %r beside the releases: waiting for LoadRelease", POINTER)
            return
        check_release_id(chosen)
        async with self._changing:
            written = written.without(chosen)  # one release has one label, and this one answers
            await self._become(Labels(stable=chosen, previous=written.previous))
            # One after the other: what can't be served must not keep the other from being served.
            canary = replace(self._labels, canary=written.canary, canary_share=written.canary_share)
            is_whole = await self._try_to_become(canary)
            is_whole &= await self._try_to_become(replace(self._labels, shadow=written.shadow))
            if not is_whole and chosen == written.stable:
                self._written = Labels()  # so that `follow` tries again

    async def load(self, release_id: str) -> ServedRelease:
        """Make a release `stable`, and the active one of the embedding service.

        The one before answers until the new one is ready, and goes on answering in both services if anything is wrong.
        A caller who gives up changes nothing: what was begun is brought to its end.

        Raises:
            NotFound, ReleaseInvalid: as :func:`ranking_service.release.served.open_served`; also if the labels can't be
                written.
            SpaceMismatch: the embedding service has no users for it.
            EmbeddingUnavailable: it went away meanwhile.
        """
        return await asyncio.shield(self._make_stable(lambda labels: labels.with_stable(release_id)))

    async def prepare(self, release_id: str) -> ServedRelease:
        """Open a release and keep it in memory, so that it can be served at once; the one prepared before goes.

        Raises:
            NotFound, ReleaseInvalid, SpaceMismatch: as :meth:`load`.
        """
        async with self._changing:
            await self._ask_for_users(release_id)
            served = self._in_memory(release_id)
            if served is None:
                served = await self._in_executor(partial(self._fetch_and_open, release_id))
            self._prepared = None if release_id in self._served else served
            return served

    async def set_canary(self, release_id: str, share: float) -> ServedRelease:
        """Let a release answer a share of the users.

        Raises:
            NotFound, ReleaseInvalid: as :meth:`load`; also for the stable release, or if there is none.
        """
        async with self._changing:
            self._check_is_not_stable(release_id)
            await self._ask_for_users(release_id)
            return await self._relabel(self._labels.with_canary(release_id, share), release_id)

    async def set_shadow(self, release_id: str) -> ServedRelease:
        """Compare a release with the stable one.

        Raises:
            NotFound, ReleaseInvalid: as :meth:`set_canary`.
        """
        async with self._changing:
            self._check_is_not_stable(release_id)
            await self._ask_for_users(release_id)
            return await self._relabel(self._labels.with_shadow(release_id), release_id)

    async def clear(self, release_id: str) -> None:
        """Take the label of a release away.

        Raises:
            ReleaseInvalid: it is the stable one.
        """
        async with self._changing:
            self._check_is_not_stable(release_id)
            await self._relabel(self._labels.without(release_id))

    async def roll_back(self) -> ServedRelease:
        """Make the release that was `stable` before stable again, as :meth:`load`, and take the canary away.

        Raises:
            NotFound: no release was stable before, or it is no longer in the registry.
        """

        def rolled_back(labels: Labels) -> Labels:
            if not labels.previous:
                raise NotFound("no release was stable before this one")
            _LOG.warning("rolling back from release %s to %s", labels.stable, labels.previous)
            return labels.without(labels.canary).with_stable(labels.previous)

        return await asyncio.shield(self._make_stable(rolled_back))

    async def _make_stable(self, change: Callable[[Labels], Labels]) -> ServedRelease:
        """Change the stable release: prepare it in both services, switch ranking, then the embedding service."""
        async with self._changing:
            before, served_before = self._labels, self._served
            labels = change(before)
            is_asked = await self._ask_for_users(labels.stable)
            served = await self._relabel(labels)
            if is_asked:
                try:
                    await self._spaces.activate(labels.stable)
                except TwotowerError as error:
                    _LOG.error("the embedding service does not switch to release %s: %s", labels.stable, error)
                    if before.stable and before != labels:
                        await self._in_executor(lambda: write_labels(self._registry, before))
                        self._written = before
                        await self._swap(before, served_before)
                        raise
            return served

    async def _ask_for_users(self, release_id: str) -> bool:
        """Have the embedding service prepare a release's space; False if it does not answer.

        Raises:
            NotFound, ReleaseInvalid: the release has no manifest.
            SpaceMismatch: there are no users for it.
        """
        served = self._in_memory(release_id)
        if served:
            return await self._spaces.prepare(release_id, served.space)
        manifest = await self._in_executor(partial(self._read_manifest, release_id))
        space = types_pb2.EmbeddingSpace(encoder_id=manifest.encoder_id, als_id=manifest.als_id)
        return await self._spaces.prepare(release_id, space)

    def _read_manifest(self, release_id: str) -> Manifest:
        return Manifest.read(self._registry.fetch(release_id))

    def _in_memory(self, release_id: str) -> ServedRelease | None:
        if self._prepared and self._prepared.release_id == release_id:
            return self._prepared
        return self._served.get(release_id)

    async def drop_canary(self, release_id: str, reason: str) -> None:
        """Take the label from a canary that is worse, if it still has it."""
        async with self._changing:
            if self._labels.canary != release_id:
                return
            _LOG.error("canary %s is rolled back: %s", release_id, reason)
            await self._relabel(self._labels.without(release_id))

    async def follow(self) -> None:
        """Take over labels that another process has written; those that can't be served are tried again, ever later."""
        written = await self._in_executor(lambda: read_labels(self._registry))
        now = time.monotonic()
        if written == self._written or (written == self._failed and now < self._retry_at):
            return
        async with self._changing:
            if written != self._labels and written.stable and not await self._try_to_become(written):
                self._retry_s = min(2 * self._retry_s, _MAX_RETRY_S) if written == self._failed else _MIN_RETRY_S
                self._failed, self._retry_at = written, now + self._retry_s
                return
            self._written, self._failed = written, None

    async def refit(self, fit: Callable[[ServedRelease], ServedRelease]) -> None:
        """Replace all releases in memory at once by what `fit`, in the executor, makes of them."""
        async with self._changing:
            served, prepared = self._served, self._prepared
            self._served, self._prepared = await self._in_executor(
                lambda: (
                    {release_id: fit(release) for release_id, release in served.items()},
                    prepared and fit(prepared),
                )
            )

    async def list(self) -> list[Manifest]:
        """List the manifests in the registry, newest first."""
        return await self._in_executor(self._registry.manifests)

    def _check_is_not_stable(self, release_id: str) -> None:
        if release_id == self.current.release_id:
            raise ReleaseInvalid(f"release {release_id} is the stable one")

    async def _relabel(self, labels: Labels, release_id: str = "") -> ServedRelease:
        """Open what is needed, write the labels, swap, and return the release named or the stable one."""
        served = await self._opened(labels)
        await self._in_executor(lambda: write_labels(self._registry, labels))
        self._written = labels
        await self._swap(labels, served)
        return served[release_id or labels.stable]

    async def _become(self, labels: Labels) -> None:
        await self._swap(labels, await self._opened(labels))

    async def _try_to_become(self, labels: Labels) -> bool:
        try:
            for release_id in labels.in_use:
                check_release_id(release_id)
            if labels != self._labels:
                await self._become(labels)
        except TwotowerError as error:
            _LOG.error("labels %s can't be served: %s", labels, error)
            return False
        except Exception:
            _LOG.exception("labels %s can't be served", labels)
            return False
        return True

    async def _opened(self, labels: Labels) -> dict[str, ServedRelease]:
        """Open the releases of some labels; those in memory stay as they are."""
        opened: dict[str, ServedRelease] = {}
        for release_id in labels.in_use:
            served = self._in_memory(release_id)
            if served is None:
                served = await self._in_executor(partial(self._fetch_and_open, release_id))
            opened[release_id] = served
        return opened

    def _fetch_and_open(self, release_id: str) -> ServedRelease:
        return self._open(self._registry.fetch(release_id))

    async def _swap(self, labels: Labels, served: Mapping[str, ServedRelease]) -> None:
        # Two assignments without an await between them: every request sees the releases before or those after.
        self._labels, self._served = labels, served
        if self._prepared and self._prepared.release_id in served:
            self._prepared = None
        _LOG.info(
            "release %s answers; canary %s, shadow %s", labels.stable, labels.canary or "none", labels.shadow or "none"
        )
        await self._on_serving()

    async def _in_executor(self, function: Callable[[], _ResultT]) -> _ResultT:
        return await asyncio.get_running_loop().run_in_executor(self._executor, function)
