"""A release in memory: opened, verified and warm."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from ranking_service.release.catalogue import Catalogue
from ranking_service.release.popularity_snapshot import PopularitySnapshot
from twotower.features import Float32, Int16, anonymous_keys
from twotower.model import TwoTowerWeights
from twotower.release import Manifest, Release, is_served, no_pause
from twotower.scoring import Scoring
from twotower.v1 import types_pb2

_LOG = logging.getLogger(__name__)


_PAIRS_AT_ONCE: Final = 4_000_000
"""(user, product) pairs whose scores are in memory at once, 16 MB."""

Scorer = Callable[[Float32], Float32]
"""Scores users against the whole catalogue: (users, 449) → (users, products) float32, the network's output."""


class WarmableScorer(Protocol):
    """A scorer that compiles; :class:`ranking_service.network.head.Head` is one."""

    def __call__(self, user_rows: Float32, /) -> Float32:
        """Score users, (users, 449) → (users, products) float32."""

    def warm_up(self) -> None:
        """Get ready to score batches of every size at full speed."""


@dataclass(frozen=True, eq=False)
class Proposer:
    """Scores only what may be among the best (docs/adr/0022-two-stage-retrieval.md).

    Attributes:
        propose: (users, 449) and popularity → (users, products) float32: the network's output for candidates, −inf for
            all other products.
        max_k: products that a request may ask for and still be answered from candidates.
        max_hidden: products that may be left out of an answer because the user has reviewed them.
    """

    propose: Callable[[Float32, PopularitySnapshot], Float32]
    max_k: int
    max_hidden: int


def users_at_once(product_count: int, most: int) -> int:
    """How many users, 1 to `most`, may have their scores for a catalogue of this size in memory at once."""
    return max(1, min(most, _PAIRS_AT_ONCE // max(product_count, 1)))


@dataclass(frozen=True, eq=False, repr=False)
class ServedRelease:
    """A release ready to answer; nothing of it is read from disk while answering.

    Attributes:
        product_texts: (products, 384) fixed point, mapped: only read when products are added; None in a release that
            lacks them.
        proposer: answers plain requests for few products of a very large catalogue. Without one they are scored
            exactly, as all others are.
        base: the release as it is on disk, if products were added to it.
        inherited: (64,) ALS vector of each product that was added, by its embedding: made once, since it takes a
            comparison with the whole catalogue.
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
    product_texts: Int16 | None = None
    proposer: Proposer | None = None
    base: "ServedRelease | None" = None
    inherited: Mapping[str, Float32] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"ServedRelease({self.release_id})"

    @property
    def release_id(self) -> str:
        """The release's content id."""
        return self.manifest.release_id


def open_served(
    path: Path,
    build_scorer: Callable[[Release], WarmableScorer],
    build_proposer: Callable[[Release, Scorer], Proposer | None] = lambda *_: None,
    pause: Callable[[], object] = no_pause,
    public_key: Path | None = None,
) -> ServedRelease:
    """Open and verify a release, replay its golden requests through the very scorer that will serve, and warm that up.

    Args:
        path: folder of the release.
        build_scorer: makes the scorer of an opened release.
        build_proposer: makes the proposer, given the scorer; None if the release is to be scored exactly.
        pause: called between two small pieces of work (docs/adr/0026-releases-are-opened-with-pauses.md).
        public_key: PEM file of the key that must have signed it; None if nobody must.

    Raises:
        NotFound: no such release.
        ReleaseInvalid: naming the file or the golden request.
    """
    start = time.perf_counter()
    release = Release.open(path, pause=pause, needed=is_served, public_key=public_key)
    manifest = release.manifest
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
        product_texts=release.product_texts,
        proposer=proposer,
    )
