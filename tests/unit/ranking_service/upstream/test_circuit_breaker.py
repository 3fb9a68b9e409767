"""The circuit breaker; time is a number that the test moves."""

import pytest

from ranking_service.release.served import ServedRelease
from ranking_service.upstream.circuit_breaker import CircuitBreaker, GuardedFeatures
from tests.support.ranking import Clock, FakeFeatures
from twotower.errors import EmbeddingUnavailable, SpaceMismatch


async def test_the_breaker_opens_probes_and_closes(lift: ServedRelease) -> None:
    clock, source = Clock(), FakeFeatures(EmbeddingUnavailable("away"))
    guarded = GuardedFeatures(source, CircuitBreaker(3, 2.0, clock))
    for _ in range(10):
        with pytest.raises(EmbeddingUnavailable):
            await guarded.get(["u"], lift.space)
    assert len(source.calls) == 3
    clock.now += 2.0
    for _ in range(5):
        with pytest.raises(EmbeddingUnavailable):
            await guarded.get(["u"], lift.space)
    assert len(source.calls) == 4  # one probe, which failed
    clock.now += 2.0
    source.failure = None
    for _ in range(5):
        assert await guarded.get(["u"], lift.space)
    assert len(source.calls) == 9


def test_one_probe_at_a_time_and_an_abandoned_one_is_none() -> None:
    clock = Clock()
    breaker = CircuitBreaker(1, 1.0, clock)
    breaker.failed()
    assert not breaker.admit()
    clock.now += 1.0
    assert [breaker.admit(), breaker.admit()] == [True, False]
    breaker.abandoned()
    assert breaker.admit()
    breaker.succeeded()
    assert [breaker.admit(), breaker.admit()] == [True, True]


async def test_a_refusal_is_an_answer(lift: ServedRelease) -> None:
    """Of a space that it does not have; the service itself is well."""
    source = FakeFeatures(SpaceMismatch("no such space"))
    guarded = GuardedFeatures(source, CircuitBreaker(2, 1.0, Clock()))
    for _ in range(5):
        with pytest.raises(SpaceMismatch):
            await guarded.get(["u"], lift.space)
    assert len(source.calls) == 5
