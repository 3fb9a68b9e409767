"""Any operations in any order, on a live Redis: its state is that of a plain model, bit for bit.

``TWOTOWER_OPERATIONS=20000 pytest tests/integration/embedding_service/test_exactness.py`` runs that many; the default
is a few hundred.
"""

import asyncio
import hashlib
import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from embedding_service.operations.verify import UserLog, Verifier
from embedding_service.ports import ImportedUser, NewReview, Outcome
from embedding_service.redis_store.client import connect
from embedding_service.redis_store.embedded import RedisServer
from embedding_service.redis_store.popularity_store import RedisPopularityStore
from embedding_service.redis_store.user_store import RedisUserStore
from tests.support.encoders import hash_vector
from tests.support.stored_reviews import ENCODER, SPACE

OPERATIONS = int(os.environ.get("TWOTOWER_OPERATIONS", "400"))
STEPS = 40
ALS = np.ones(64, np.float32)
USERS, REVIEWS, NAMES = ["u1", "{u}2", "ü 3"], ["r1", "r2", "r3", "r4", "r5"], ["Anonymous", "anonymous"]


class Content(NamedTuple):
    """What a review says."""

    product: str
    millistars: int
    time_s: int
    text: str

    def review(self, user: str, review_id: str, *, imported: bool = False) -> NewReview:
        """As the store takes it."""
        digest = b"" if imported else hashlib.blake2b(repr(self).encode(), digest_size=16).digest()
        return NewReview(
            user,
            review_id,
            self.product,
            self.millistars / 1000,
            self.time_s * 1_000_000,
            hash_vector(self.text),
            digest,
        )


CONTENTS = st.builds(
    Content,
    st.sampled_from(["p1", "p2", "p3"]),
    st.integers(0, 5000),
    st.integers(-(10**6), 10**6),
    st.sampled_from(["a", "b", "c", "d"]),
)
CALLS = st.tuples(st.sampled_from(USERS), st.sampled_from(REVIEWS))
USER = st.sampled_from(USERS)


class Machine(RuleBasedStateMachine):
    """The model is two dictionaries: reviews under names, and those under anonymous names."""

    done = 0
    clock: ClassVar[list[int]] = [1]
    store: RedisUserStore
    run: Any

    def __init__(self) -> None:
        super().__init__()
        self.log: dict[tuple[str, str], Content] = {}
        self.anonymous_log: dict[tuple[str, str], Content] = {}
        self.far_ahead: set[tuple[str, str]] = set()
        self.retracted: set[tuple[str, str]] = set()
        self.deleted_s: dict[str, int] = {}
        self.now_s = 1

    def _outcome(self, log: dict[tuple[str, str], Content], key: tuple[str, str], content: Content) -> Outcome:
        known = log.get(key)
        log[key] = content
        if known != content:
            self.retracted.discard(key)
        return Outcome.RECORDED if known is None else Outcome.DUPLICATE if known == content else Outcome.REPLACED

    @rule(key=CALLS, content=CONTENTS, times=st.integers(1, 3))
    def record(self, key: tuple[str, str], content: Content, times: int) -> None:
        """Record a review, an edit if it is there; and again."""
        expected = [self._outcome(self.log, key, content) for _ in range(times)]
        changes = self.run(self.store.record(ENCODER, [content.review(*key)] * times))
        assert [change.outcome for change in changes] == expected
        assert changes[-1].review_count == sum(user == key[0] for user, _ in self.log)
        Machine.done += times

    @rule(calls=st.dictionaries(CALLS, st.one_of(CONTENTS, st.none()), min_size=2, max_size=12))
    def at_once(self, calls: dict[tuple[str, str], Content | None]) -> None:
        """Record some and retract others concurrently, in no order."""

        async def all_at_once() -> None:
            await asyncio.gather(
                *(
                    self.store.record(ENCODER, [content.review(*key)]) if content else self.store.retract(SPACE, *key)
                    for key, content in calls.items()
                )
            )

        self.run(all_at_once())
        for key, content in calls.items():
            if content:
                self._outcome(self.log, key, content)
            else:
                self._forget(key)
        Machine.done += len(calls)

    def _forget(self, key: tuple[str, str]) -> bool:
        if self.log.pop(key, None) is None:
            return False
        self.retracted.add(key)
        return True

    @rule(key=CALLS)
    def retract(self, key: tuple[str, str]) -> None:
        """Take a review back, which may not be there."""
        change = self.run(self.store.retract(SPACE, *key))
        assert (change is not None) == self._forget(key)
        Machine.done += 1

    @rule(now_s=st.integers(1, 10**6))
    def pass_time(self, now_s: int) -> None:
        """Turn the service's clock to any time, so that reviews are from before and after a deletion."""
        self.now_s = now_s
        Machine.clock[0] = now_s

    @rule(user=USER)
    def delete(self, user: str) -> None:
        """Forget a user."""
        theirs = [key for key in self.log if key[0] == user]
        assert self.run(self.store.delete(user)) == bool(theirs)
        for key in theirs:
            del self.log[key]
        self.deleted_s[user] = self.now_s
        Machine.done += 1

    @rule(
        users=st.dictionaries(USER, st.dictionaries(st.sampled_from(REVIEWS), CONTENTS, min_size=1), min_size=1),
        times=st.integers(1, 2),
    )
    def merge(self, users: dict[str, dict[str, Content]], times: int) -> None:
        """Import users, perhaps twice."""
        imported = []
        for user, contents in users.items():
            reviews = [content.review(user, review_id, imported=True) for review_id, content in contents.items()]
            sums: Any = np.sum([review.fixed_point for review in reviews], axis=0, dtype=np.int32)
            imported.append(ImportedUser(user, reviews, sums, ALS))
            self.log.update(
                {(user, id_): content for id_, content in contents.items() if self._may_come(user, id_, content)}
            )
        for _ in range(times):
            assert self.run(self.store.merge(SPACE, imported)) == []
            Machine.done += len(users)

    def _may_come(self, user: str, review_id: str, content: Content) -> bool:
        before_deletion = user in self.deleted_s and content.time_s <= self.deleted_s[user]
        return (user, review_id) not in self.retracted and not before_deletion

    @rule(key=st.tuples(st.sampled_from(NAMES), st.sampled_from(REVIEWS)), content=st.one_of(CONTENTS, st.none()))
    def anonymous(self, key: tuple[str, str], content: Content | None) -> None:
        """Record or retract an anonymous review."""
        if content:
            expected = self._outcome(self.anonymous_log, key, content)
            if expected is not Outcome.DUPLICATE:
                self.far_ahead.discard(key)
                if content.time_s >= self.now_s + 86_400:
                    self.far_ahead.add(key)
            assert self.run(self.store.record_anonymous(ENCODER, [content.review(*key)])) == [expected]
        else:
            assert self.run(self.store.retract_anonymous(ENCODER, *key)) == (
                self.anonymous_log.pop(key, None) is not None
            )
        Machine.done += 1

    def teardown(self) -> None:
        """Compare everything, and leave an empty Redis."""
        try:
            self.run(self._compare())
        finally:
            self.run(self.store.client.one("FLUSHALL"))

    async def _compare(self) -> None:
        popularity = RedisPopularityStore(self.store.client, self.store.outboxes)
        logs: dict[str, UserLog] = {log.user_id: log async for page in Verifier(self.store).logs() for log in page}
        assert logs.keys() == {user for user, _ in self.log}
        stored = await self.store.read(SPACE, USERS)
        for row, user in enumerate(USERS):
            contents = {review_id: content for (name, review_id), content in self.log.items() if name == user}
            vectors: list[Any] = [hash_vector(content.text) for content in contents.values()]
            np.testing.assert_array_equal(stored.sums[row], np.sum(vectors or [np.zeros(384)], axis=0, dtype=int))
            assert stored.counts[row] == len(contents)
            if not contents:
                continue
            found = {
                review_id: Content(
                    entry.product_id, entry.micro_stars // 1000, entry.time_us // 1_000_000, contents[review_id].text
                )
                for review_id, entry in logs[user].reviews.items()
                if np.array_equal(entry.fixed_point, hash_vector(contents[review_id].text))
            }
            assert found == contents
            assert logs[user].problems() == []
        await popularity.settle()
        hourly = await popularity.hours_of_days(ENCODER, await popularity.all_days(ENCODER))
        columns = zip(
            hourly.product_ids, hourly.hours.tolist(), hourly.counts.tolist(), hourly.offsets_s.tolist(), strict=True
        )
        counted: Counter[tuple[str, int]] = Counter()
        offsets: Counter[tuple[str, int]] = Counter()
        for product, hour, count, offset in columns:
            counted[product, hour] += count
            offsets[product, hour] += offset
        # Of a user, product and day the earliest counts.
        earliest: dict[tuple[str, str, int], Content] = {}
        for (user, _), content in sorted(self.log.items(), key=lambda item: item[1].time_s):
            earliest.setdefault((user, content.product, content.time_s // 86_400), content)
        anonymous = [content for key, content in self.anonymous_log.items() if key not in self.far_ahead]
        contents_ = [*earliest.values(), *anonymous]
        assert counted == Counter((content.product, content.time_s // 3600) for content in contents_)
        expected: Counter[tuple[str, int]] = Counter()
        for content in contents_:
            expected[content.product, content.time_s // 3600] += content.time_s % 3600
        assert +offsets == +expected


def test_state_equals_a_plain_model_of_it() -> None:
    with asyncio.Runner() as runner, tempfile.TemporaryDirectory() as folder:
        server = RedisServer(Path(folder), appendfsync="no")
        runner.run(server.start())
        Machine.run = staticmethod(runner.run)
        Machine.store = RedisUserStore(
            connect(server.url, timeout_s=5.0, connections=8), clock=lambda: Machine.clock[0]
        )
        try:
            while Machine.done < OPERATIONS:
                checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
                examples = max(1, min(100, (OPERATIONS - Machine.done) // STEPS))
                options = settings(
                    max_examples=examples, stateful_step_count=STEPS, deadline=None, suppress_health_check=checks
                )
                run_state_machine_as_test(_fresh, settings=options)  # type: ignore[arg-type]
        finally:
            runner.run(Machine.store.close())
            runner.run(server.stop())
    print(f"{Machine.done} operations")


def _fresh() -> Machine:
    Machine.run(Machine.store.register_space(SPACE))
    Machine.clock[0] = 1
    return Machine()
