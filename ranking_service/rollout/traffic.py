"""Watches how releases rank: a canary that is worse is rolled back, and a shadow is compared."""

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

import numpy as np

from ranking_service.ranking.jobs import RankJob
from ranking_service.ranking.ranker import Ranker, Ranking
from ranking_service.release.catalogue import Catalogue
from ranking_service.release.served import ServedRelease
from ranking_service.rollout.releases import Releases
from twotower.errors import Overloaded
from twotower.features import Float32
from twotower.model import top_k

_LOG = logging.getLogger(__name__)
_WINDOW: Final = 1_000
_MIN_REQUESTS: Final = 100
_JUDGED_EVERY: Final = 50
"""Requests of the canary: judging it costs a quarter of a millisecond."""
_LATENCY_RATIO: Final = 1.5
_LATENCY_SLACK_S: Final = 0.002
_ERROR_DEVIATIONS: Final = 3.0
"""How many standard deviations of a difference of two shares chance reaches once in a thousand."""
_SHADOW_USERS: Final = 32
_COMPARED_PRODUCTS: Final = 10
_SHADOW_LOG_S: Final = 60.0


class Outcomes:
    """The latest requests that a release answered; `total` counts all that there ever were."""

    def __init__(self) -> None:
        self._latest: deque[tuple[bool, float]] = deque(maxlen=_WINDOW)
        self.total = 0

    def __len__(self) -> int:
        return len(self._latest)

    def record(self, failed: bool, seconds: float) -> None:
        """Record a request."""
        self._latest.append((failed, seconds))
        self.total += 1

    @property
    def failures(self) -> int:
        """How many requests failed, or were answered without the users' features."""
        return sum(failed for failed, _ in self._latest)

    @property
    def latency_s(self) -> float:
        """The median of the requests that did not fail; NaN if there are none."""
        answered = [seconds for failed, seconds in self._latest if not failed]
        return median(answered) if answered else math.nan


def why_worse(canary: Outcomes, stable: Outcomes) -> str | None:
    """Say what is worse about a canary; None while nothing is, or while there are too few requests to say so."""
    if len(canary) < _MIN_REQUESTS:
        return None
    canary_share, stable_share = canary.failures / len(canary), stable.failures / max(len(stable), 1)
    pooled = (canary.failures + stable.failures) / (len(canary) + len(stable))
    deviation = math.sqrt(pooled * (1 - pooled) * (1 / len(canary) + 1 / max(len(stable), 1)))
    if canary_share - stable_share > max(_ERROR_DEVIATIONS * deviation, 0.01):
        return f"{canary_share:.1%} of its requests fail or are degraded, {stable_share:.1%} of the stable release's"
    if len(stable) >= _MIN_REQUESTS and canary.latency_s > _LATENCY_RATIO * stable.latency_s + _LATENCY_SLACK_S:
        return (
            f"its median latency is {1e3 * canary.latency_s:.2f} ms, the stable release's "
            f"{1e3 * stable.latency_s:.2f} ms"
        )
    return None


@dataclass
class Comparison:
    """How a shadow compares with the stable release, summed over users."""

    shadow_id: str = ""
    user_count: int = 0
    overlap: float = 0.0
    score_difference: float = 0.0

    @property
    def mean_overlap(self) -> float:
        """The share of the stable release's best 10 that are among the shadow's, 0–1."""
        return self.overlap / self.user_count if self.user_count else 0.0

    @property
    def mean_score_difference(self) -> float:
        """The mean absolute difference of the two scores of the stable release's best 10."""
        return self.score_difference / self.user_count if self.user_count else 0.0


class Traffic:
    """Ranks users, and watches how each release does it.

    Args:
        releases: which release has which label.
        ranker: ranks.
        clock: seconds, monotonic.
    """

    def __init__(self, releases: Releases, ranker: Ranker, clock: Callable[[], float] = time.perf_counter) -> None:
        self._releases = releases
        self._ranker = ranker
        self._clock = clock
        self._outcomes: dict[str, Outcomes] = {}
        self._judged = ""
        self._comparison = Comparison()
        self._comparing: asyncio.Task[None] | None = None
        self._dropping: asyncio.Task[None] | None = None
        self._logged_at = clock()

    @property
    def comparison(self) -> Comparison:
        """How the shadow compares since it has the label."""
        shadow = self._releases.labels.shadow
        return self._comparison if self._comparison.shadow_id == shadow else Comparison(shadow)

    async def rank(self, served: ServedRelease, job: RankJob, timeout_s: float | None = None) -> Ranking:
        """Rank users, as :meth:`ranking_service.ranking.ranker.Ranker.rank`."""
        labels = self._releases.labels
        if not labels.canary:
            self._judged = ""
        start = self._clock()
        try:
            ranking = await self._ranker.rank(served, job, timeout_s)
        except Overloaded:
            raise  # it says nothing of the release
        except Exception:
            if labels.canary:
                self._record(served, failed=True, seconds=self._clock() - start)
            raise
        if labels.canary:
            # While the embedding service is away, both releases' answers are degraded, so neither is worse.
            degraded = ranking.parts[0].contexts[0].degraded
            self._record(served, failed=degraded, seconds=self._clock() - start)
        if labels.shadow and not self._comparing:
            self._compare(job.user_ids[:_SHADOW_USERS])
        return ranking

    def _record(self, served: ServedRelease, *, failed: bool, seconds: float) -> None:
        labels = self._releases.labels
        if labels.canary != self._judged:  # another one, or one that was taken away for a while, is judged anew
            self._judged = labels.canary
            self._outcomes.clear()
        own = self._outcomes.setdefault(served.release_id, Outcomes())
        own.record(failed, seconds)
        canary = self._outcomes.get(labels.canary)
        if self._dropping or own is not canary or canary.total % _JUDGED_EVERY:
            return
        if reason := why_worse(canary, self._outcomes.get(labels.stable, Outcomes())):
            self._dropping = asyncio.get_running_loop().create_task(self._drop(labels.canary, reason))

    async def _drop(self, release_id: str, reason: str) -> None:
        try:
            await self._releases.drop_canary(release_id, reason)
        except Exception:
            _LOG.exception("canary %s can't be rolled back", release_id)
        finally:
            self._outcomes.pop(release_id, None)
            self._dropping = None

    def _compare(self, user_ids: Sequence[str]) -> None:
        """Compare in the background, one comparison at a time: what comes in the meantime is not compared."""
        stable, shadow = self._releases.current, self._releases.shadow
        if shadow:
            self._comparing = asyncio.get_running_loop().create_task(self._compared(stable, shadow, user_ids))

    async def _compared(self, stable: ServedRelease, shadow: ServedRelease, user_ids: Sequence[str]) -> None:
        try:
            stable_scores = await self._ranker.scores(stable, user_ids)
            shadow_scores = await self._ranker.scores(shadow, user_ids)
            overlap, difference = compare(stable.catalogue, shadow.catalogue, stable_scores, shadow_scores)
            if not math.isfinite(difference):
                return  # one user whose scores are no numbers must not spoil the sum of all
            if self._comparison.shadow_id != shadow.release_id:
                self._comparison = Comparison(shadow.release_id)
            self._comparison.user_count += len(user_ids)
            self._comparison.overlap += overlap
            self._comparison.score_difference += difference
            if self._clock() - self._logged_at > _SHADOW_LOG_S:
                self._logged_at = self._clock()
                _log_comparison(self.comparison)
        except Exception as error:
            _LOG.warning("shadow %s could not be compared: %r", shadow.release_id, error)
        finally:
            self._comparing = None


def _log_comparison(comparison: Comparison) -> None:
    _LOG.info(
        "shadow %s after %d users: overlap@10 %.3f, scores differ by %.3g",
        comparison.shadow_id,
        comparison.user_count,
        comparison.mean_overlap,
        comparison.mean_score_difference,
    )


def compare(
    stable: Catalogue, shadow: Catalogue, stable_scores: Float32, shadow_scores: Float32
) -> tuple[float, float]:
    """Compare the best 10 of two releases for some users.

    Args:
        stable: catalogue of the release that answers.
        shadow: catalogue of the release that is compared. A product that it does not have counts as not found, and not
            for the difference.
        stable_scores: (users, products) float32.
        shadow_scores: (users, products) float32, of the shadow's products.

    Returns:
        The overlap of the best 10, 0–1, and the mean absolute score difference of the stable release's best 10, both
        summed over users.
    """
    overlap = difference = 0.0
    for scores, other_scores, best, other_best in zip(
        stable_scores,
        shadow_scores,
        top_k(stable_scores, _COMPARED_PRODUCTS).tolist(),
        top_k(shadow_scores, _COMPARED_PRODUCTS).tolist(),
        strict=True,
    ):
        pairs = [(row, shadow.row(stable.product_ids[row])) for row in best]
        overlap += len({other_row for _, other_row in pairs} & set(other_best)) / len(best)
        in_both = [(row, other_row) for row, other_row in pairs if other_row >= 0]
        if in_both:
            difference += float(np.mean([abs(scores[row] - other_scores[other]) for row, other in in_both]))
    return overlap, difference
