"""Which release answers: opening, verifying, warming up and swapping, all off the event loop."""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeVar

import numpy as np

from ranking_service import checks
from ranking_service.catalogue import Catalogue
from twotower.errors import NotReady, ReleaseInvalid
from twotower.features import Float32, anonymous_keys
from twotower.release import MANIFEST, Manifest, Release, list_releases
from twotower.scoring import Scoring
from twotower.v1 import types_pb2

_LOG = logging.getLogger(__name__)
_ResultT = TypeVar("_ResultT")

POINTER: Final = "stable"
"""File in the folder of releases that holds the id of the release to start with."""


class Scorer(Protocol):
    """Scores users against the whole catalogue; :class:`ranking_service.head.Head` is one."""

    def warm_up(self) -> None:
        """Get ready to score batches of every size at full speed."""

    def __call__(self, user_rows: Float32) -> Float32:
        """(users, 449) → (users, products) float32, the network's output."""


@dataclass(frozen=True, eq=False)
class ServedRelease:
    """A release in memory, ready to answer; nothing in it reads the disk again."""

    manifest: Manifest
    catalogue: Catalogue
    scorer: Scorer
    scoring: Scoring
    global_mean: Float32
    space: types_pb2.EmbeddingSpace
    anonymous_keys: frozenset[str]

    @property
    def release_id(self) -> str:
        """Content id."""
        return self.manifest.release_id


def open_served(path: Path, build_scorer: Callable[[Release], Scorer]) -> ServedRelease:
    """Open a release, verify every file, replay its golden requests through the very scorer that will serve, and warm that up.

    Raises:
        NotFound: no such release.
        ReleaseInvalid: naming the file or the golden request.
    """
    start = time.perf_counter()
    release = Release.open(path)
    manifest = release.manifest
    if manifest.release_id != path.name:
        raise ReleaseInvalid(f"{MANIFEST}: the release {manifest.release_id} is in a folder named {path.name!r}")
    scorer, scoring = build_scorer(release), release.scoring

    def replay(rows: Float32) -> tuple[Float32, Float32]:
        network = scorer(rows)
        return scoring.scores(network), scoring.ratings(network)

    worst = release.replay_golden(replay)
    scorer.warm_up()
    _LOG.info("release %s verified and warm after %.1f s, golden difference %.2g", manifest.release_id, time.perf_counter() - start, worst)
    return ServedRelease(
        manifest=manifest,
        catalogue=Catalogue(release.catalogue, np.array(release.product_towers), manifest.release_id),
        scorer=scorer,
        scoring=scoring,
        global_mean=np.array(release.global_mean),
        space=types_pb2.EmbeddingSpace(encoder_id=manifest.encoder_id, als_id=manifest.als_id),
        anonymous_keys=anonymous_keys(manifest.anonymous_names),
    )


class Releases:
    """The folder of releases and the one that answers.

    Args:
        root: the folder.
        open_release: opens and warms one; runs in `executor`.
        executor: for all that reads or compiles.
        on_serving: called after each swap.
    """

    def __init__(
        self, root: Path, open_release: Callable[[Path], ServedRelease], executor: Executor, on_serving: Callable[[], Awaitable[None]]
    ) -> None:
        self._root = root
        self._open = open_release
        self._executor = executor
        self._on_serving = on_serving
        self._current: ServedRelease | None = None
        self._loading = asyncio.Lock()

    @property
    def current(self) -> ServedRelease:
        """The release that answers.

        Raises:
            NotReady: none is loaded yet.
        """
        if self._current is None:
            raise NotReady("no release is loaded yet")
        return self._current

    async def start(self, release_id: str | None) -> None:
        """Load the release to start with: the one given, or the one that the pointer file names, or none.

        Raises:
            NotFound, ReleaseInvalid: as :func:`open_served`.
        """
        chosen = release_id or await self._in_executor(self._read_pointer)
        if not chosen:
            _LOG.info("%s does not exist: waiting for LoadRelease", self._root / POINTER)
            return
        checks.release_id(chosen)
        async with self._loading:
            await self._swap(await self._in_executor(lambda: self._open(self._root / chosen)))

    async def load(self, release_id: str) -> ServedRelease:
        """Make a release `stable`. The one before answers until the new one is ready, and goes on answering if anything is wrong.

        Raises:
            NotFound, ReleaseInvalid: as :func:`open_served`; also if the pointer file can't be written.
        """
        async with self._loading:
            served = await self._in_executor(lambda: self._open(self._root / release_id))
            await self._in_executor(lambda: self._write_pointer(release_id))
            await self._swap(served)
        return served

    async def list(self) -> tuple[list[Manifest], str]:
        """Manifests in the folder, newest first; and the id of the one that answers, or ""."""
        manifests = await self._in_executor(lambda: list_releases(self._root))
        return manifests, self._current.release_id if self._current else ""

    async def _swap(self, served: ServedRelease) -> None:
        # One assignment on the event loop: a request holds the release that it began with until its answer is written.
        self._current = served
        _LOG.info("release %s answers", served.release_id)
        await self._on_serving()

    async def _in_executor(self, function: Callable[[], _ResultT]) -> _ResultT:
        return await asyncio.get_running_loop().run_in_executor(self._executor, function)

    def _read_pointer(self) -> str:
        try:
            return (self._root / POINTER).read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return ""

    def _write_pointer(self, release_id: str) -> None:
        temporary = self._root / f".{POINTER}-{os.getpid()}"
        try:
            with temporary.open("w", encoding="utf-8") as file:
                file.write(release_id + "\n")
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._root / POINTER)
        except OSError as error:
            raise ReleaseInvalid(f"{POINTER}: the pointer file can't be written: {error.strerror}") from error
