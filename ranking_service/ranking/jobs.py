"""What goes into a batch and what comes out of it: jobs, and scored products."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ranking_service.ranking.rerank import DIVERSE_POOL, PLAIN, Selection
from ranking_service.release.popularity_snapshot import PopularitySnapshot
from ranking_service.upstream.user_batch import UserContext
from twotower.features import Float32, Int64


@dataclass(frozen=True, eq=False)
class Page:
    """Where a ranking goes on: all that the next page depends on, save the release.

    Attributes:
        row: (449,) float32 user row.
        seen: catalogue rows that the user has reviewed.
        shown: catalogue rows of the pages so far, in their order.
        context: what was known of the user at the first page.
        popularity: what the scores hold, also that of the first page.
    """

    row: Float32
    seen: list[int]
    shown: list[int]
    context: UserContext
    popularity: PopularitySnapshot


def work_per_user(k: int, product_count: int, *, diverse: bool, shown: int = 0) -> int:
    """Estimate what it costs to rank one user by more than the scores, in units of about 10 µs.

    Scoring and masking take the catalogue's time. Each product that is chosen by diversity is compared with the whole
    pool; each that is merely chosen, or was shown before, is one step of a loop.
    """
    steps = k + shown
    return 5 + product_count // 300 + steps // 10 + (3 * min(steps, DIVERSE_POOL) + shown if diverse else 0)


@dataclass(frozen=True)
class RankJob:
    """Rank the catalogue for users.

    Attributes:
        user_ids: one if `paginate`, `explain` or `page`.
        k: products wanted.
        include_seen: whether products that the user has reviewed may come back.
        selection: which products may be ranked, and how they are chosen.
        max_staleness_s: how old looked-up features may be.
        paginate: whether to say where the next page begins.
        explain: whether to score without ALS and without BERT too.
        page: where to go on, if this is not the first page.
        product_count: size of the catalogue, by which the work of a job that is not plain is measured.
    """

    user_ids: tuple[str, ...]
    k: int
    include_seen: bool
    selection: Selection = PLAIN
    max_staleness_s: float = 0.0
    paginate: bool = False
    explain: bool = False
    page: Page | None = None
    product_count: int = 0

    def for_users(self, user_ids: Sequence[str]) -> "RankJob":
        """Return the same job for other users."""
        return replace(self, user_ids=tuple(user_ids))

    @property
    def user_count(self) -> int:
        """How many user rows are scored."""
        return len(self.user_ids) * (3 if self.explain else 1)

    @property
    def work_per_user(self) -> int:
        """What ranking one of the users costs, in units of about 10 µs."""
        shown = len(self.page.shown) if self.page else 0
        work = work_per_user(self.k, self.product_count, diverse=self.selection.diversity > 0, shown=shown)
        return work * (3 if self.explain else 1)

    @property
    def plain(self) -> bool:
        """Whether just the best k are wanted."""
        return self.selection == PLAIN and not (self.paginate or self.explain or self.page)


@dataclass(frozen=True)
class PredictJob:
    """Score given products for one user.

    Attributes:
        user_ids: the one user.
        products: (k,) int64 catalogue rows, in the order of the answer.
        max_staleness_s: how old looked-up features may be.
    """

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
        similarity: (k,) float32 cosine of the two towers.
    """

    without_als: Float32
    without_bert: Float32
    without_popularity: Float32
    nearest: list[int]
    similarity: Float32


@dataclass(frozen=True)
class ScoredProducts:
    """Products with their scores and ratings for some users, in columns, in the order of the answer.

    Attributes:
        products: (users, k) int64 catalogue rows.
        scores: (users, k) float32.
        ratings: (users, k) float32, 0–5.
        counts: for each user, how many of the k are an answer; the others must not come back.
        contexts: what is known of each user.
        popularity: what the scores hold.
        explanations: for the one user, if asked for.
        next_page: where the one user's ranking goes on, if asked for and there is more.
    """

    products: Int64
    scores: Float32
    ratings: Float32
    counts: list[int]
    contexts: Sequence[UserContext]
    popularity: PopularitySnapshot = field(default_factory=PopularitySnapshot)
    explanations: Explanations | None = None
    next_page: Page | None = None
