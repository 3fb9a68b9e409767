"""The use case of the trainer's bulk load: a release's users come in, and the release is active at the end."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embedding_service.ports import ActiveRelease, ImportedUser, NewReview, Space, UserStore
from embedding_service.releases.spaces import LoadedRelease, Spaces
from twotower.errors import FieldViolation, InvalidArgument, Overloaded, SpaceMismatch
from twotower.features import MAX_REVIEWS_PER_USER, Float32, Int16, is_anonymous

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
        spaces: loaded releases.
        release: the one that the users belong to: loaded, and not active yet.
        user_count: number of users that must come.
    """

    def __init__(self, store: UserStore, spaces: Spaces, release: LoadedRelease, user_count: int) -> None:
        self._store = store
        self._spaces = spaces
        self._release = release
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
        """Write the last batch and make the release active.

        Raises:
            StoreUnavailable: as in :meth:`add`; the active release stays.
            InvalidArgument: as in :meth:`add`, or there are fewer users than announced; the active release stays.
        """
        await self._written()
        if self._received != self._expected:
            self._refuse_count()
        current = self._spaces.current
        previous = current.previous_id if current.release_id == self.release_id else current.release_id
        active = ActiveRelease(self.release_id, previous)
        # Kept first: if the store is away now, this process and the next one agree on the old release.
        await self._store.activate(active)
        await self._spaces.switch(active)
        await self._store.retire_spaces(self._spaces.loaded)
        _LOG.info("imported %d users, %d reviews; release %s is active", self.users, self.reviews, self.release_id)

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
        return [
            ImportedUser(user.user_id, user.reviews, row, user.als)
            for (user, named), row in zip(reviewers, sums, strict=True)
            if named
        ]


class Importer:
    """Starts imports, one at a time."""

    def __init__(self, store: UserStore, spaces: Spaces) -> None:
        self._store = store
        self._spaces = spaces
        self._lock = asyncio.Lock()
        self._running: Import | None = None

    async def __aenter__(self) -> "Importer":
        if self._lock.locked():
            raise Overloaded("another import is under way", 5.0)
        await self._lock.acquire()
        return self

    async def __aexit__(self, *_: object) -> None:
        running, self._running = self._running, None
        try:
            if running:
                await running.stop()
        finally:
            self._lock.release()

    async def begin(self, release_id: str, space: Space, user_count: int) -> Import:
        """Open and verify the release.

        Raises:
            NotFound, ReleaseInvalid: the release is not there or must not be served.
            SpaceMismatch: `space` is not the release's.
        """
        release = await self._spaces.load(release_id)
        if space != release.space:
            raise SpaceMismatch(f"header.space: release {release_id} has {release.space}, the header says {space}")
        await self._store.register_space(space)
        self._running = Import(self._store, self._spaces, release, user_count)
        return self._running
