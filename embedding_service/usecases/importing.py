"""The use case of the trainer's bulk load: a release's users come in, and the release is active at the end."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from embedding_service.ports import ImportedUser, NewReview, Space, UserStore
from embedding_service.releases.spaces import LoadedRelease, Spaces
from embedding_service.usecases.activation import Activation
from twotower.errors import FieldViolation, InvalidArgument, InvalidFile, Overloaded, SpaceMismatch, StoreUnavailable
from twotower.features import BERT_DIM, MAX_REVIEWS_PER_USER, Float32, Int16, is_anonymous
from twotower.suppressions import Suppressions

LEAST_SHARE: Final = 0.5
"""Of the users that the import before had; fewer are refused, because the file is likely to be the wrong one."""
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class SentUser:
    """A user as the trainer sends it.

    Attributes:
        user_id: the user.
        reviews: their `fixed_point` are rows of the batch's.
        als: (64,) float32.
    """

    user_id: str
    reviews: Sequence[NewReview]
    als: Float32


@dataclass(frozen=True)
class Batch:
    """Users, and the embeddings of all their reviews in order, (reviews, 384) int16."""

    users: Sequence[SentUser]
    fixed_point: Int16


class Import:
    """One import under way.

    Args:
        store: users' state.
        release: the one that the users belong to: loaded, and not active yet.
        user_count: number of users that must come.
        then: makes the release active, or a prepared one.
        suppressions: users who were deleted, whose reviews from before are left out.
    """

    def __init__(
        self,
        store: UserStore,
        release: LoadedRelease,
        user_count: int,
        then: Callable[[LoadedRelease], Awaitable[None]],
        suppressions: Suppressions,
    ) -> None:
        self._store = store
        self._release = release
        self._suppressions = suppressions
        self._then = then
        self._expected = user_count
        self._received = 0
        self._writing: asyncio.Task[None] | None = None
        self.users = 0
        self.reviews = 0
        self.anonymous = 0

    @property
    def release_id(self) -> str:
        """The release that the import belongs to."""
        return self._release.release_id

    async def add(self, batch: Batch) -> None:
        """Merge these users' reviews into the store; anonymous names and users without reviews are left out.

        Returns when the batch before is written: Redis works on one batch while the next is read and taken apart.

        Raises:
            InvalidArgument: there are more users than announced, or a user of the batch before would have more reviews
                than can be summed exactly.
            StoreUnavailable: some of the batch before may be written, each user whole; send the import again.
        """
        self._received += len(batch.users)
        if self._received > self._expected:
            self._refuse_count()
        users = self._imported(batch)
        await self._written()
        self._writing = asyncio.create_task(self._write(batch, users))

    async def _written(self) -> None:
        writing, self._writing = self._writing, None
        if writing:
            await writing

    async def _write(self, batch: Batch, users: Sequence[ImportedUser]) -> None:
        for user_id in await self._store.merge(self._release.space, users):
            index = next(i for i, user in enumerate(batch.users) if user.user_id == user_id)
            violation = f"with those there are more than {MAX_REVIEWS_PER_USER}, the most that can be summed exactly"
            raise InvalidArgument([FieldViolation(f"batch.users[{index}].reviews", violation)])
        self.users += len(users)
        self.reviews += sum(len(user.reviews) for user in users)

    async def finish(self) -> None:
        """Write the last batch and make the release active, or a prepared one.

        Raises:
            StoreUnavailable: as in :meth:`add`; the active release stays.
            InvalidArgument: as in :meth:`add`, or there are fewer users than announced; the active release stays.
        """
        await self._written()
        if self._received != self._expected:
            self._refuse_count()
        await self._store.remember_import(self._release.space.encoder_id, self._received)
        await self._then(self._release)
        _LOG.info("imported %d users, %d reviews of release %s", self.users, self.reviews, self.release_id)

    async def stop(self) -> None:
        """Let the write under way end, whatever comes of it."""
        if self._writing:
            await asyncio.wait([self._writing])
            self._writing.exception()

    def _refuse_count(self) -> None:
        counts = f"{self._expected} users were announced, {self._received} came"
        raise InvalidArgument(
            [FieldViolation("header.user_count", f"must be the number of users that follow: {counts}")]
        )

    def _imported(self, batch: Batch) -> list[ImportedUser]:
        is_named = [not is_anonymous(user.user_id, self._release.anonymous) for user in batch.users]
        self.anonymous += is_named.count(False)
        reviewers = [(user, named) for user, named in zip(batch.users, is_named, strict=True) if user.reviews]
        if not reviewers:
            return []
        starts = np.cumsum([0] + [len(user.reviews) for user, _ in reviewers[:-1]])
        sums = np.add.reduceat(batch.fixed_point, starts, axis=0, dtype=np.int32)
        users = [
            ImportedUser(user.user_id, user.reviews, row, user.als)
            for (user, named), row in zip(reviewers, sums, strict=True)
            if named
        ]
        if not self._suppressions:
            return users
        return [left for left in map(self._without_deleted, users) if left.reviews]

    def _without_deleted(self, user: ImportedUser) -> ImportedUser:
        """The user with what was written after his or her deletion only; what has no time may be from before it."""
        deleted_us = self._suppressions.deleted_us(user.user_id)
        if deleted_us is None:
            return user
        reviews = [review for review in user.reviews if review.time_us is not None and review.time_us > deleted_us]
        if len(reviews) == len(user.reviews):
            return user
        vectors = np.array([review.fixed_point for review in reviews], np.int16).reshape(-1, BERT_DIM)
        return ImportedUser(user.user_id, reviews, vectors.sum(axis=0, dtype=np.int32), np.zeros_like(user.als))


class Importer:
    """Starts imports, one at a time.

    Args:
        store: users' state.
        spaces: loaded releases.
        activation: what becomes of a release when its users are there.
        suppressions: the list of deleted users; none if None, or as long as it is not there.
    """

    def __init__(
        self, store: UserStore, spaces: Spaces, activation: Activation, suppressions: Path | None = None
    ) -> None:
        self._suppressions = suppressions
        self._store = store
        self._spaces = spaces
        self._activation = activation
        self._lock = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def begin(
        self, release_id: str, space: Space, user_count: int, *, prepare_only: bool = False, force: bool = False
    ) -> AsyncIterator[Import]:
        """Open and verify the release; when the import ends it is active, or with `prepare_only` prepared.

        An import that fails leaves the release in memory only if it was there before.

        Args:
            release_id: the release that the users belong to.
            space: its space.
            user_count: users that will come.
            prepare_only: do not make the release active.
            force: take far fewer users than the import before had.

        Raises:
            Overloaded: another import is under way.
            InvalidArgument: there are no users to make a release active with, or far fewer than there were.
            NotFound, ReleaseInvalid: the release is not there or must not be served.
            SpaceMismatch: `space` is not the release's.
            StoreUnavailable: the list of deleted users can't be read.
        """
        if self._lock.locked():
            raise Overloaded("another import is under way", 5.0)
        async with self._lock:
            await self._check_count(space, user_count, prepare_only=prepare_only, force=force)
            async with self._spaces.opened(release_id) as release:
                if space != release.space:
                    raise SpaceMismatch(
                        f"header.space: release {release_id} has {release.space}, the header says {space}"
                    )
                await self._store.register_space(space)
                then = self._activation.hold if prepare_only else self._activation.make_active
                running = Import(self._store, release, user_count, then, await self._deleted())
                try:
                    yield running
                finally:
                    await running.stop()

    async def _deleted(self) -> Suppressions:
        """Who was deleted; also where the store has forgotten it, after 90 days or because it was emptied."""
        if self._suppressions is None or not self._suppressions.exists():
            return Suppressions()
        try:
            return await asyncio.to_thread(Suppressions.read, [self._suppressions])
        except InvalidFile as error:
            raise StoreUnavailable(f"nothing is imported, because deleted users might come back: {error}") from error

    async def _check_count(self, space: Space, user_count: int, *, prepare_only: bool, force: bool) -> None:
        if not user_count and not prepare_only:
            raise InvalidArgument(
                [
                    FieldViolation(
                        "header.user_count",
                        "must be at least 1: an import of no users makes no release active; ActivateRelease does",
                    )
                ]
            )
        if force:
            return
        encoder_ids = [space.encoder_id, *(held.space.encoder_id for held in self._activation.held[:1])]
        before = await self._store.imported_users(encoder_ids)
        if user_count < LEAST_SHARE * before:
            raise InvalidArgument(
                [
                    FieldViolation(
                        "header.user_count",
                        f"must be at least half of the {before} users of the import before, got {user_count}; if that "
                        "is right, set header.force (`twotower publish --force`)",
                    )
                ]
            )
