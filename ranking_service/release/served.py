"""A release in memory, opened, verified and warm."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ranking_service.release.catalogue import Catalogue
from ranking_service.release.popularity_snapshot import Snapshot
from twotower.errors import ReleaseInvalid
from twotower.features import Float32, anonymous_keys
from twotower.model import TwoTowerWeights
from twotower.release import MANIFEST, Manifest, Release, no_pause
from twotower.scoring import Scoring
from twotower.v1 import types_pb2

_LOG = logging.getLogger(__name__)


class Scorer(Protocol):
    """Scores users against the whole catalogue; :class:`ranking_service.network.head.Head` is one."""

    def warm_up(self) -> None:
        """Get ready to score batches of every size at full speed."""

    def __call__(self, user_rows: Float32) -> Float32:
        """(users, 449) → (users, products) float32, the network's output."""


class Proposer(Protocol):
    """Scores only what may be among the best; :class:`ranking_service.network.two_stage.TwoStage` is one."""

    @property
    def largest_k(self) -> int:
        """Products that a request may ask for and still be answered from candidates."""

    @property
    def most_hidden(self) -> int:
        """Products that may be left out of an answer because the user has reviewed them."""

    def __call__(self, user_rows: Float32, popularity: Snapshot) -> Float32:
        """(users, 449) → (users, products) float32: the network's output for candidates, −inf for all other
        products.
        """


@dataclass(frozen=True, eq=False, repr=False)
class ServedRelease:
    """A release ready to answer; nothing of it is read from disk while answering.

    Attributes:
        proposer: answers plain requests for few products of a very large catalogue; None: they are scored exactly, as
            all others are.
        base: the release as it is on disk, if products were added to it.
    """

    manifest: Manifest
    catalogue: Catalogue
    scorer: Scorer
    scoring: Scoring
    global_mean: Float32
    space: types_pb2.EmbeddingSpace
    anonymous_keys: frozenset[str]
    weights: TwoTowerWeights
    item_factors: Float32
    proposer: Proposer | None = None
    base: "ServedRelease | None" = None

    def __repr__(self) -> str:
        return f"ServedRelease({self.release_id})"

    @property
    def release_id(self) -> str:
        """Content id."""
        return self.manifest.release_id


def open_served(
    path: Path,
    build_scorer: Callable[[Release], Scorer],
    build_proposer: Callable[[Release, Scorer], Proposer | None] = lambda *_: None,
    pause: Callable[[], object] = no_pause,
) -> ServedRelease:
    """Open a release, verify every file, replay its golden requests through the very scorer that will serve, and warm
    that up.

    Raises:
        NotFound: no such release.
        ReleaseInvalid: naming the file or the golden request.
    """
    start = time.perf_counter()
    release = Release.open(path, pause=pause)
    manifest = release.manifest
    if manifest.release_id != path.name:
        raise ReleaseInvalid(f"{MANIFEST}: the release {manifest.release_id} is in a folder named {path.name!r}")
    scorer, scoring = build_scorer(release), release.scoring

    def replay(rows: Float32) -> tuple[Float32, Float32]:
        network = scorer(rows)
        return scoring.scores(network), scoring.ratings(network)

    worst = release.replay_golden(replay)
    scorer.warm_up()
    proposer = build_proposer(release, scorer)
    _LOG.info(
        "release %s verified and warm after %.1f s, golden difference %.2g",
        manifest.release_id,
        time.perf_counter() - start,
        worst,
    )
    return ServedRelease(
        manifest=manifest,
        catalogue=Catalogue(release.catalogue, np.array(release.product_towers), manifest.release_id),
        scorer=scorer,
        scoring=scoring,
        global_mean=np.array(release.global_mean),
        space=types_pb2.EmbeddingSpace(encoder_id=manifest.encoder_id, als_id=manifest.als_id),
        anonymous_keys=anonymous_keys(manifest.anonymous_names),
        weights=release.weights,
        item_factors=np.array(release.item_factors.factors),
        proposer=proposer,
    )
