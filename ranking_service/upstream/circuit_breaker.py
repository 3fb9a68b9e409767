"""A circuit breaker in front of the embedding service: while it is away, requests do not each wait to find that out."""

import logging
import time
from collections.abc import Callable, Sequence

from ranking_service.upstream.feature_lookup import FeatureSource
from twotower.errors import EmbeddingUnavailable, SpaceMismatch
from twotower.v1 import embedding_service_pb2, types_pb2

_LOG = logging.getLogger(__name__)


class CircuitBreaker:
    """Lets calls through while they succeed.

    After `max_failures` failures in a row it opens: it refuses calls for `reset_s` seconds, then lets one through as a
    probe. A success closes it again.

    Args:
        max_failures: failures in a row that open it.
        reset_s: seconds between probes.
        clock: seconds, monotonic.
    """

    def __init__(self, max_failures: int, reset_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_failures = max_failures
        self._reset_s = reset_s
        self._clock = clock
        self._failures = 0
        self._probe_at = 0.0
        self._probing = False

    @property
    def is_open(self) -> bool:
        """Whether calls are refused, save for probes."""
        return self._failures >= self._max_failures

    def admit(self) -> bool:
        """Whether a call may be made; each admitted call must end with one of the three methods below."""
        if not self.is_open:
            return True
        if self._probing or self._clock() < self._probe_at:
            return False
        self._probing = True
        return True

    def succeeded(self) -> None:
        """Count a call that was answered."""
        if self.is_open:
            _LOG.info("the embedding service answers again")
        self._failures = 0
        self._probing = False

    def failed(self) -> None:
        """Count a call that was not answered."""
        self._failures += 1
        self._probing = False
        self._probe_at = self._clock() + self._reset_s
        if self._failures == self._max_failures:
            _LOG.warning(
                "the embedding service failed %d times in a row: not asked, save for a probe every %.1f s",
                self._max_failures,
                self._reset_s,
            )

    def abandoned(self) -> None:
        """Forget a call that its caller gave up, which says nothing of the service."""
        self._probing = False


class GuardedFeatures:
    """A feature source behind a circuit breaker.

    Args:
        source: the service.
        breaker: counts its failures.
    """

    def __init__(self, source: FeatureSource, breaker: CircuitBreaker) -> None:
        self._source = source
        self._breaker = breaker

    async def get(
        self, user_ids: Sequence[str], space: types_pb2.EmbeddingSpace
    ) -> embedding_service_pb2.UserFeatureColumns:
        """Look users up, as :meth:`FeatureSource.get`.

        Raises:
            EmbeddingUnavailable: also at once, while the breaker is open.
            SpaceMismatch: as the source.
        """
        if not self._breaker.admit():
            raise EmbeddingUnavailable("not asked: it failed too often")
        try:
            features = await self._source.get(user_ids, space)
        except EmbeddingUnavailable:
            self._breaker.failed()
            raise
        except SpaceMismatch:
            self._breaker.succeeded()
            raise
        except BaseException:
            self._breaker.abandoned()
            raise
        self._breaker.succeeded()
        return features
