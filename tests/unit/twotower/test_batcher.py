"""The batcher without gRPC and without a network: clock and processing are the test's."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twotower.batcher import Batcher
from twotower.errors import Overloaded


@dataclass(frozen=True)
class Users:
    name: str
    user_count: int = 1


@dataclass
class Process:
    """Answers each job with its own name, once it is let through."""

    open: asyncio.Event = field(default_factory=asyncio.Event)
    batches: list[tuple[str, list[str]]] = field(default_factory=list)
    error: Exception | None = None

    async def __call__(self, key: str, jobs: Sequence[Users]) -> list[str]:
        self.batches.append((key, [job.name for job in jobs]))
        await self.open.wait()
        if self.error:
            raise self.error
        return [job.name for job in jobs]


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def make(
    process: Process, clock: Clock | None = None, *, max_queued_weight: int = 16, inline: bool = True, **rules: Any
) -> Batcher[str, Users, str]:
    def overloaded(users: int, wait_s: float) -> Overloaded:
        return Overloaded(f"{users} users are waiting, the limit is {max_queued_weight}", wait_s)

    return Batcher(
        process,
        weight=attrgetter("user_count"),
        max_batch_weight=lambda _: 4,
        max_queued_weight=max_queued_weight,
        overloaded=overloaded,
        inline=inline,
        clock=clock or Clock(),
        **rules,
    )


async def turn() -> None:
    """Let everything that can run, run."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_an_idle_batcher_does_not_wait() -> None:
    process = Process()
    process.open.set()
    (done,) = await make(process).submit("r", [Users("a")])
    assert (done.answer, done.queue_s) == ("a", 0.0)
    assert process.batches == [("r", ["a"])]


async def test_what_arrives_meanwhile_is_one_batch_and_its_wait_is_measured() -> None:
    process, clock = Process(), Clock()
    batcher = make(process, clock)
    first = asyncio.create_task(batcher.submit("r", [Users("a")]))
    await turn()
    rest = [asyncio.create_task(batcher.submit("r", [Users(name)])) for name in "bcdef"]
    await turn()
    assert batcher.queued_weight == 5
    clock.now += 3
    process.open.set()
    await first
    done = [(await task)[0] for task in rest]
    assert process.batches == [("r", ["a"]), ("r", ["b", "c", "d", "e"]), ("r", ["f"])]
    assert [(d.answer, d.queue_s) for d in done] == [(name, 3.0) for name in "bcdef"]
    assert batcher.queued_weight == 0


async def answered_together(batcher: Batcher[str, Users, str], process: Process, names: str) -> None:
    """Let a batch of all but the first of these callers be answered."""
    process.open.clear()
    tasks = [asyncio.create_task(batcher.submit("r", [Users(name)])) for name in names]
    await turn()
    process.open.set()
    await asyncio.gather(*tasks)


async def test_callers_who_were_answered_together_are_one_batch_again() -> None:
    process = Process()
    batcher = make(process, linger_s=60)
    await answered_together(batcher, process, "abcd")
    back = [asyncio.create_task(batcher.submit("r", [Users(name)])) for name in "bc"]
    await turn()
    assert process.batches == [("r", ["a"]), ("r", ["b", "c", "d"])]
    assert batcher.queued_weight == 2
    (done,) = await batcher.submit("r", [Users("d")])
    await asyncio.gather(*back)
    assert done.answer == "d"
    assert process.batches[2:] == [("r", ["b", "c", "d"])]


async def test_who_comes_back_alone_waits_for_the_others_only_for_a_while() -> None:
    process = Process()
    batcher = make(process, linger_s=0.02)
    await answered_together(batcher, process, "abcd")
    (done,) = await batcher.submit("r", [Users("b")])
    assert done.answer == "b"
    assert process.batches[2:] == [("r", ["b"])]
    later = asyncio.create_task(batcher.submit("r", [Users("c")]))
    await turn()
    assert later.done(), "after a batch of one caller nobody waits"


async def test_a_job_of_many_users_waits_for_nobody() -> None:
    process = Process()
    batcher = make(process, linger_s=60)
    await answered_together(batcher, process, "abcd")
    (done,) = await batcher.submit("r", [Users("many", 3)])
    assert done.answer == "many"


async def test_the_parts_of_one_call_are_one_caller() -> None:
    process = Process()
    process.open.set()
    batcher = make(process, linger_s=60)
    await batcher.submit("r", [Users("part 1"), Users("part 2"), Users("part 3")])
    (done,) = await batcher.submit("r", [Users("a")])
    assert done.answer == "a"


async def test_a_small_batch_waits_for_the_one_before_and_a_larger_one_does_not() -> None:
    process = Process()
    batcher = make(process, max_in_flight=2, min_overlapped_weight=3)
    tasks = [asyncio.create_task(batcher.submit("r", [Users(name)])) for name in "abc"]
    await turn()
    assert process.batches == [("r", ["a"])]
    tasks += [asyncio.create_task(batcher.submit("r", [Users(name)])) for name in "def"]
    await turn()
    assert process.batches[1:] == [("r", ["b", "c", "d"])]
    process.open.set()
    await asyncio.gather(*tasks)
    assert process.batches[2:] == [("r", ["e", "f"])]


async def test_the_place_of_a_caller_that_leaves_alone_is_free_again() -> None:
    process = Process()
    batcher = make(process)
    leaving = asyncio.create_task(batcher.submit("r", [Users("leaving")]))
    await turn()
    staying = asyncio.create_task(batcher.submit("r", [Users("staying")]))
    await turn()
    leaving.cancel()
    process.open.set()
    assert (await staying)[0].answer == "staying"
    assert (await batcher.submit("r", [Users("later")]))[0].answer == "later"


async def test_a_batch_of_its_own_task_takes_all_who_come_in_one_turn_and_outlives_them() -> None:
    process = Process()
    batcher = make(process, inline=False)
    tasks = [asyncio.create_task(batcher.submit("r", [Users(name)])) for name in "abcde"]
    await turn()
    assert process.batches == [("r", ["a", "b", "c", "d"])]
    for task in tasks[:4]:
        task.cancel()
    await turn()
    assert (process.batches[1:], batcher.queued_weight) == ([], 1)
    process.open.set()
    assert (await tasks[4])[0].answer == "e"


async def test_closing_fails_those_who_wait_and_lets_a_running_batch_end() -> None:
    process = Process()
    batcher = make(process, inline=False)
    running = asyncio.create_task(batcher.submit("r", [Users("running")]))
    await turn()
    waiting = asyncio.create_task(batcher.submit("r", [Users("waiting")]))
    await turn()
    closing = asyncio.create_task(batcher.close(ValueError("closed")))
    with pytest.raises(ValueError, match="closed"):
        await waiting
    assert not closing.done()
    process.open.set()
    assert (await running)[0].answer == "running"
    await closing
    assert batcher.queued_weight == 0


async def test_two_keys_never_share_a_batch() -> None:
    process = Process()
    batcher = make(process)
    tasks = [
        asyncio.create_task(batcher.submit(key, [Users(name)]))
        for key, name in (("x", "0"), ("x", "1"), ("y", "2"), ("x", "3"))
    ]
    await turn()
    process.open.set()
    await asyncio.gather(*tasks)
    assert process.batches == [("x", ["0"]), ("x", ["1", "3"]), ("y", ["2"])]


async def test_a_cancelled_job_frees_its_place_and_its_neighbours_are_answered() -> None:
    process = Process()
    batcher = make(process)
    running = asyncio.create_task(batcher.submit("r", [Users("running")]))
    await turn()
    leaving, staying = (asyncio.create_task(batcher.submit("r", [Users(name, 2)])) for name in ("leaving", "staying"))
    await turn()
    leaving.cancel()
    await turn()
    assert batcher.queued_weight == 2
    process.open.set()
    assert [d.answer for d in await staying] == ["staying"]
    assert process.batches[1:] == [("r", ["staying"])]
    await running


async def test_a_job_cancelled_in_a_running_batch_does_not_harm_the_batch() -> None:
    process = Process()
    batcher = make(process, max_in_flight=1)
    blocker = asyncio.create_task(batcher.submit("r", [Users("blocker")]))
    await turn()
    mates = [asyncio.create_task(batcher.submit("r", [Users(name)])) for name in "abc"]
    process.open.set()
    await blocker
    process.open.clear()
    await turn()
    assert process.batches[-1] == ("r", ["a", "b", "c"])
    mates[1].cancel()
    await turn()
    process.open.set()
    assert [(await mates[i])[0].answer for i in (0, 2)] == ["a", "c"]


async def test_an_expired_job_is_dropped_before_it_costs_anything() -> None:
    process, clock = Process(), Clock()
    batcher = make(process, clock)
    running = asyncio.create_task(batcher.submit("r", [Users("running")]))
    await turn()
    expiring = asyncio.create_task(batcher.submit("r", [Users("expiring")], timeout_s=1.0))
    patient = asyncio.create_task(batcher.submit("r", [Users("patient")], timeout_s=9.0))
    await turn()
    clock.now += 2
    process.open.set()
    await running
    assert (await patient)[0].answer == "patient"
    with pytest.raises(asyncio.CancelledError):
        await expiring
    assert process.batches[1:] == [("r", ["patient"])]
    assert batcher.queued_weight == 0


async def test_a_full_queue_refuses_all_of_a_request_and_says_when_to_come_back() -> None:
    process = Process()
    batcher = make(process, max_queued_weight=4)
    running = asyncio.create_task(batcher.submit("r", [Users("running")]))
    await turn()
    waiting = asyncio.create_task(batcher.submit("r", [Users("waiting", 3)]))
    await turn()
    with pytest.raises(Overloaded, match="3 users are waiting, the limit is 4") as refused:
        await batcher.submit("r", [Users("b"), Users("c")])
    assert 0 < refused.value.retry_after_s <= 5
    assert batcher.queued_weight == 3
    process.open.set()
    await asyncio.gather(running, waiting)


async def test_a_failure_reaches_every_job_of_its_batch_and_no_other() -> None:
    process = Process(error=ValueError("no"))
    process.open.set()
    batcher = make(process)
    answers = await asyncio.gather(*(batcher.submit("r", [Users(name)]) for name in "abc"), return_exceptions=True)
    assert [type(answer) for answer in answers] == [ValueError] * 3
    process.error = None
    assert (await batcher.submit("r", [Users("d")]))[0].answer == "d"


@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=30),
    leaving=st.sets(st.integers(0, 29)),
    in_flight=st.integers(1, 3),
    parts=st.integers(1, 3),
)
@settings(max_examples=60, deadline=None)
def test_everyone_who_stays_gets_their_own_answer(
    sizes: list[int], leaving: set[int], in_flight: int, parts: int
) -> None:
    async def run() -> None:
        process = Process()
        batcher = make(process, max_in_flight=in_flight, max_queued_weight=1000)
        requests = [[Users(f"{index}.{part}", size) for part in range(parts)] for index, size in enumerate(sizes)]
        tasks = [asyncio.create_task(batcher.submit("r", request)) for request in requests]
        await turn()
        for index in leaving & set(range(len(tasks))):
            tasks[index].cancel()
        await turn()
        process.open.set()
        for index, answer in enumerate(await asyncio.gather(*tasks, return_exceptions=True)):
            if index in leaving:
                assert isinstance(answer, asyncio.CancelledError)
            else:
                assert not isinstance(answer, BaseException)
                assert [done.answer for done in answer] == [job.name for job in requests[index]]
        assert batcher.queued_weight == 0
        size_of = {job.name: job.user_count for request in requests for job in request}
        for _, names in process.batches:
            assert len(names) == 1 or sum(size_of[name] for name in names) <= 4

    asyncio.run(run())
