"""The loaded releases: which one is active, and which spaces can be asked for."""

import asyncio
import contextlib
import logging
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from embedding_service.ports import ActiveRelease, Space
from embedding_service.releases.encoding_queue import Encoder, EncodingQueue, worst_difference
from twotower.als import ItemFactors, fold_in
from twotower.encoder import EncoderConfig
from twotower.errors import FieldViolation, InvalidArgument, NotReady, ReleaseInvalid, SpaceMismatch, TwotowerError
from twotower.features import Float32, anonymous_keys
from twotower.release import Release
from twotower.scoring import LiftScoring

_LOG = logging.getLogger(__name__)
_MAX_NAME_BYTES: Final = 255
"""Longest name of a file."""
_MOST_SHOWN: Final = 64
"""Characters of a caller's id that an error repeats: what a status carries is bounded."""
DEFAULT_HALF_LIFE_DAYS: Final = 7.0
"""The half-life for a release whose scores have no popularity in them and so name none."""


@dataclass(frozen=True)
class LoadedRelease:
    """What the service needs of a release.

    Attributes:
        release_id: content id.
        space: its vector spaces.
        factors: ALS item factors.
        product_rows: product id → row of the factors, of products that have factors.
        catalogue_rows: product id → row of the catalogue.
        half_life_days: after this long a review counts half in live popularity.
        global_mean: (384,) float32, the embedding of cold and anonymous users.
        anonymous: names that never accumulate state, as :func:`twotower.features.is_anonymous` wants them.
    """

    release_id: str
    space: Space
    factors: ItemFactors
    product_rows: Mapping[str, int]
    catalogue_rows: Mapping[str, int]
    half_life_days: float
    global_mean: Float32
    anonymous: frozenset[str]

    @classmethod
    def of(cls, release: Release) -> "LoadedRelease":
        """Read into memory what the service needs of an opened release."""
        manifest = release.manifest
        loaded = release.item_factors
        factors = ItemFactors(np.array(loaded.factors), loaded.regularization, loaded.confidence_per_star)
        has_factors = np.any(factors.factors, axis=1).tolist()
        catalogue_rows = {product.product_id: row for row, product in enumerate(release.catalogue)}
        scoring = release.scoring
        return cls(
            release_id=release.release_id,
            space=Space(manifest.encoder_id, manifest.als_id),
            factors=factors,
            product_rows={product_id: row for product_id, row in catalogue_rows.items() if has_factors[row]},
            catalogue_rows=catalogue_rows,
            half_life_days=scoring.half_life_days if isinstance(scoring, LiftScoring) else DEFAULT_HALF_LIFE_DAYS,
            global_mean=np.array(release.global_mean),
            anonymous=anonymous_keys(manifest.anonymous_names),
        )

    def fold_in(self, histories: list[Mapping[str, float]]) -> Float32:
        """ALS vectors (users, 64) of histories, product id → sum of ratings; products without factors are left out."""
        rows = self.product_rows
        by_row = [
            {rows[product]: stars for product, stars in history.items() if product in rows} for history in histories
        ]
        return fold_in(self.factors, by_row)


class Spaces:
    """Opens releases from a folder and knows which one is active.

    The one before stays loaded, so that ranking may go on asking for its space. A release is in memory while it is held
    or while someone works with it (:meth:`opened`), and its encoder as long.

    Args:
        root: folder of releases.
        open_encoder: loads the encoder of a release; blocks.
        open_queue: makes the encoding queue of an encoder.
        public_key: PEM file of the key that must have signed a release; None if nobody must.
    """

    def __init__(
        self,
        root: Path,
        open_encoder: Callable[[Path], Encoder],
        open_queue: Callable[[Encoder], EncodingQueue],
        public_key: Path | None = None,
    ) -> None:
        self._root = root
        self._public_key = public_key
        self._open_encoder = open_encoder
        self._open_queue = open_queue
        self._releases: dict[str, LoadedRelease] = {}
        self._queues: dict[str, EncodingQueue] = {}
        self._users: Counter[str] = Counter()
        self._loading = asyncio.Lock()
        self._current = ActiveRelease()
        self._active: LoadedRelease | None = None
        self.changing = asyncio.Lock()
        """Held by whoever reads or writes in the store which releases answer, and then follows it here."""

    @property
    def current(self) -> ActiveRelease:
        """Ids of the active release, the one before and those prepared."""
        return self._current

    @property
    def active(self) -> LoadedRelease:
        """The active release.

        Raises:
            NotReady: there is none.
        """
        if self._active is None:
            raise NotReady("no release is active yet; publish one with `twotower publish`")
        return self._active

    @property
    def loaded(self) -> list[Space]:
        """The spaces of all releases in memory."""
        return [release.space for release in self._releases.values()]

    @property
    def held(self) -> list[LoadedRelease]:
        """The releases that can be asked for: the active one, the one before, those prepared."""
        return [self._releases[name] for name in self._current.held_ids if name in self._releases]

    @property
    def queue(self) -> EncodingQueue:
        """The encoding queue of the active release."""
        return self._queues[self.active.space.encoder_id]

    def find(self, space: Space | None) -> LoadedRelease:
        """The loaded release of a space, the active one first; the active release if `space` is None.

        Raises:
            NotReady: no release is active.
            SpaceMismatch: no loaded release has that space.
        """
        active = self.active
        if space is None or space == active.space:
            return active
        for release in self._releases.values():
            if release.space == space:
                return release
        wanted = f"encoder {space.encoder_id[:_MOST_SHOWN]!r}, ALS {space.als_id[:_MOST_SHOWN]!r}"
        raise SpaceMismatch(f"no loaded release has {wanted}; the active one, {active.release_id}, has {active.space}")

    def find_als(self, als_id: str) -> LoadedRelease:
        """The loaded release with an ALS space, the active one first; the active release if `als_id` is empty.

        Raises:
            NotReady: no release is active.
            SpaceMismatch: no loaded release has it.
        """
        active = self.active
        if als_id in ("", active.space.als_id):
            return active
        for release in self._releases.values():
            if release.space.als_id == als_id:
                return release
        raise SpaceMismatch(
            f"als_id: no loaded release has {als_id[:_MOST_SHOWN]!r}; the active one, {active.release_id}, has "
            f"{active.space.als_id!r}"
        )

    @contextlib.asynccontextmanager
    async def opened(self, release_id: str) -> AsyncIterator[LoadedRelease]:
        """Open and verify a release and its encoder, without making it active; both stay in memory meanwhile.

        Raises:
            InvalidArgument: `release_id` is no name of a folder.
            NotFound: the folder has no such release.
            ReleaseInvalid: a file is wrong, or a golden text is embedded otherwise than the trainer did.
        """
        if (
            not release_id
            or release_id != Path(release_id).name
            or release_id == ".."
            or "\0" in release_id
            or len(os.fsencode(release_id)) > _MAX_NAME_BYTES
        ):
            raise InvalidArgument(
                [FieldViolation("release_id", "must be the name of a release in the service's release folder")]
            )
        self._users[release_id] += 1  # before it is loaded, so that nobody drops its encoder
        try:
            async with self._loading:
                if release_id not in self._releases:
                    await self._load(release_id)
            yield self._releases[release_id]
        finally:
            self._users[release_id] -= 1
            self._users += Counter()  # forget those at zero
            await self._drop_unused()

    async def follow(self, active: ActiveRelease) -> None:
        """Load the releases that answer and make them the active one, the one before and those prepared; drop others.

        A release that can't be loaded, and is not the active one, is left out with a warning.

        Raises:
            NotFound, ReleaseInvalid: the active one can't be loaded; nothing was changed.
        """
        async with contextlib.AsyncExitStack() as stack:
            for release_id in active.held_ids:
                try:
                    await stack.enter_async_context(self.opened(release_id))
                except TwotowerError as error:
                    if release_id == active.release_id:
                        raise
                    _LOG.warning("release %s, which is not the active one, is left out: %s", release_id, error)
            self._current = active
            self._active = self._releases[active.release_id] if active.release_id else None

    async def _load(self, release_id: str) -> None:
        release = await asyncio.to_thread(Release.open, self._root / release_id, public_key=self._public_key)
        if release.release_id != release_id:
            raise ReleaseInvalid(
                f"{release_id}: the manifest's id is {release.release_id}; the folder must have the release's name"
            )
        await self._load_encoder(release)
        self._releases[release_id] = await asyncio.to_thread(LoadedRelease.of, release)
        _LOG.info("loaded release %s", release_id)

    async def _drop_unused(self) -> None:
        kept = {*self._current.held_ids, *self._users}
        self._releases = {name: release for name, release in self._releases.items() if name in kept}
        if self._loading.locked():
            return  # the encoder of a release that is being loaded; whoever loads it comes here
        encoder_ids = {release.space.encoder_id for release in self._releases.values()}
        for queue in [self._queues.pop(name) for name in set(self._queues) - encoder_ids]:
            await queue.close()

    async def close(self) -> None:
        """Stop the encoding queues."""
        for queue in self._queues.values():
            await queue.close()

    async def _load_encoder(self, release: Release) -> None:
        name = release.manifest.encoder_id
        if name in self._queues:
            await _replay_golden_texts(release, self._queues[name])
            return
        encoder = await asyncio.to_thread(self._open_encoder, release.encoder_path)
        if encoder.encoder_id != name:
            raise ReleaseInvalid(f"encoder/: its id is {encoder.encoder_id}, the manifest says {name}")
        queue = self._open_queue(encoder)
        try:
            await _replay_golden_texts(release, queue)
        except BaseException:
            await queue.close()
            raise
        self._queues[name] = queue


async def _replay_golden_texts(release: Release, queue: EncodingQueue) -> None:
    texts, expected = release.golden_texts
    if not texts:
        return
    worst = worst_difference((await queue.encode(texts)).fixed_point, expected)
    allowed = EncoderConfig.read(release.encoder_path).golden_tolerance
    if worst > allowed:
        raise ReleaseInvalid(f"golden/texts.json: an embedding differs by {worst} units of 1/32767, allowed {allowed}")
