"""What a batch is made of: jobs in, scored products out."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ranking_service.release.popularity_snapshot import Snapshot
from ranking_service.upstream.user_batch import Known
from twotower.features import Float32, Int64


@dataclass(frozen=True)
class Selection:
    """Which products may be ranked, and how the best of them are chosen.

    Attributes:
        allowed: only these product ids; all if empty.
        denied: never these product ids.
        categories: only products in one of these; all if empty.
        brands: only products of one of these; all if empty.
        min_rating: least predicted rating.
        max_per_brand: most products of one brand; no limit if 0.
        diversity: strength of maximal marginal relevance, 0–1.
    """

    allowed: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    brands: tuple[str, ...] = ()
    min_rating: float = 0.0
    max_per_brand: int = 0
    diversity: float = 0.0


PLAIN = Selection()
"""The best k of the whole catalogue."""


@dataclass(frozen=True, eq=False)
class Page:
    """Where a ranking goes on: all that it depends on, save the release.

    Attributes:
        row: (449,) float32 user row.
        seen: catalogue rows that the user has reviewed.
        shown: catalogue rows of the pages so far, in their order.
        known: what was known of the user.
        popularity: what the scores hold.
    """

    row: Float32
    seen: list[int]
    shown: list[int]
    known: Known
    popularity: Snapshot


@dataclass(frozen=True)
class RankJob:
    """Rank the catalogue for up to 128 users.

    Attributes:
        user_ids: one if `paginate`, `explain` or `page`.
        k: products wanted.
        include_seen: also those that the user has reviewed.
        selection: which products, and how they are chosen.
        max_staleness_s: age of looked-up features that will do.
        paginate: also say where the next page begins.
        explain: also score without ALS and without BERT.
        page: go on from here.
    """

    user_ids: tuple[str, ...]
    k: int
    include_seen: bool
    selection: Selection = PLAIN
    max_staleness_s: float = 0.0
    paginate: bool = False
    explain: bool = False
    page: Page | None = None

    def of(self, user_ids: Sequence[str]) -> "RankJob":
        """The same for other users."""
        return replace(self, user_ids=tuple(user_ids))

    @property
    def user_count(self) -> int:
        """User rows to score."""
        return len(self.user_ids) * (3 if self.explain else 1)

    @property
    def plain(self) -> bool:
        """Just the best k."""
        return self.selection == PLAIN and not (self.paginate or self.explain or self.page)


@dataclass(frozen=True)
class PredictJob:
    """Score given products, by catalogue row and in this order, for one user."""

    user_ids: tuple[str]
    products: Int64
    max_staleness_s: float = 0.0
    user_count: int = 1


Job = RankJob | PredictJob


@dataclass(frozen=True)
class Explanations:
    """Why one user's products are where they are, in columns of k.

    Attributes:
        without_als: (k,) float32 scores with a zero ALS vector.
        without_bert: (k,) float32 scores with the mean review embedding of all users.
        without_popularity: (k,) float32 scores with all products equally popular.
        nearest: catalogue row of the reviewed product with the nearest tower; empty if the user has reviewed none.
        similarity: (k,) float32 cosine with it.
    """

    without_als: Float32
    without_bert: Float32
    without_popularity: Float32
    nearest: list[int]
    similarity: Float32


@dataclass(frozen=True)
class ScoredProducts:
    """Products with their numbers for each of some users, in columns, in the order of the answer.

    Attributes:
        products: (users, k) int64 catalogue rows.
        scores: (users, k) float32.
        ratings: (users, k) float32, 0–5.
        counts: for each user, how many of the k are an answer; the rest are products that must not come back.
        known: what is known of each user.
        popularity: what the scores hold.
        explanations: of the one user, if asked for.
        next_page: where the one user's ranking goes on, if asked for and there is more.
    """

    products: Int64
    scores: Float32
    ratings: Float32
    counts: list[int]
    known: Sequence[Known]
    popularity: Snapshot = field(default_factory=Snapshot)
    explanations: Explanations | None = None
    next_page: Page | None = None
