"""Time-left estimates hold, and there is none before there can be one."""

import pytest

from trainer.progress import TimeLeft


def run(*phases: tuple[int, float], every_s: float = 0.1) -> tuple[TimeLeft, int, float]:
    """Phases of so many steps at so many steps a second, reported every so often; the estimator, total and end."""
    left, now, total = TimeLeft(), 0.0, sum(steps for steps, _ in phases)
    for steps, rate in phases:
        done = 0.0
        while done < steps:
            now += every_s
            before = int(done)
            done = min(steps, done + rate * every_s)
            left.report(now, int(done) - before)
    return left, total, now


@pytest.mark.parametrize("rate", [3.0, 50.0, 4000.0])
def test_a_steady_rate_is_estimated_right(rate: float) -> None:
    steps = int(rate * 20)
    left, _, now = run((steps, rate))
    total = steps * 5
    assert left.seconds(now, total) == pytest.approx((total - steps) / rate, rel=0.05)


def test_no_estimate_before_there_can_be_one() -> None:
    left = TimeLeft()
    assert left.seconds(0.0, 100) is None
    left.report(0.0, 1)
    assert left.seconds(10.0, 100) is None  # one report is no rate
    left.report(10.0, 1)
    assert left.seconds(10.0, 100) == pytest.approx(98 * 10)
    early = TimeLeft()
    for step in range(5):
        early.report(step / 10, 1)
    assert early.seconds(0.5, 100) is None  # half a second is none either


def test_no_estimate_without_a_total_or_at_the_end() -> None:
    left, total, now = run((100, 10.0))
    assert left.seconds(now, None) is None
    assert left.seconds(now, total) is None


def test_what_was_there_at_the_beginning_counts_for_nothing() -> None:
    left = TimeLeft()
    left.report(0.0, 50_000)  # texts of the cache
    for step in range(1, 101):
        left.report(step / 10, 2)
    assert left.seconds(10.0, 50_000 + 1000) == pytest.approx(800 / 20, rel=0.05)


def test_the_rate_is_that_of_the_recent_past() -> None:
    left, _, now = run((1000, 100.0), (350, 10.0))  # ten seconds at 100, then 35 at 10 a second
    assert left.seconds(now, 1350 + 600) == pytest.approx(60, rel=0.05)


def test_a_step_that_takes_long_makes_the_rest_longer() -> None:
    left, _, now = run((100, 10.0))
    quick = left.seconds(now, 200)
    stuck = left.seconds(now + 60, 200)
    assert quick == pytest.approx(10, rel=0.1)
    assert stuck is not None
    assert stuck > 60
