"""What other callers notice while somebody attacks: real services, one attack at a time on fresh ones.

In processes of their own, eight well-behaved callers ask for recommendations and two record reviews, at a steady pace,
five seconds in peace and then while the attack runs. For each attack one line says what the attacker was answered, how
many of the others' calls failed, their p99 in peace and under attack, and the most memory that each service ever held.
The bounds are those of services without authentication on the loopback: whoever reaches the port.

    python benchmarks/bench_attacks.py                  all attacks
    python benchmarks/bench_attacks.py forged-token …   some

It measures no refusals of identities (tests/integration) and no faults of Redis or of a disk.

The last line is JSON: of each attack the others' failed calls, and p99 under attack over p99 in peace.
"""

import asyncio
import base64
import contextlib
import hashlib
import multiprocessing
import multiprocessing.connection
import os
import random
import resource
import signal
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc
import numpy as np

from benchmarks import rig
from twotower.features import USER_DIM
from twotower.grpc_environment import prepare_grpc
from twotower.rpc import channel_options
from twotower.v1 import embedding_service_pb2 as embedding_pb
from twotower.v1 import embedding_service_pb2_grpc, ranking_service_pb2_grpc, types_pb2
from twotower.v1 import ranking_service_pb2 as ranking_pb

PEACE_S: Final = 5.0
ATTACK_S: Final = 10.0
READERS: Final = 8
WRITERS: Final = 2
PACE_S: Final = 0.02
DEADLINE_S: Final = 2.0
_UNLIMITED: Final = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
_RECORD: Final = "/twotower.v1.EmbeddingService/BatchRecordReviews"


@dataclass
class Target:
    """The services under attack."""

    embedding: str
    ranking: str
    embedding_pid: int
    ranking_pid: int
    answers: Counter[str] = field(default_factory=Counter)

    @contextlib.asynccontextmanager
    async def stubs(self) -> AsyncIterator[tuple[Any, Any, grpc.aio.Channel]]:
        """Stubs of both services over connections of their own, without limits on this side."""
        options = channel_options(_UNLIMITED)
        async with (
            grpc.aio.insecure_channel(self.embedding, options=options) as embedding,
            grpc.aio.insecure_channel(self.ranking, options=options) as ranking,
        ):
            yield (
                embedding_service_pb2_grpc.EmbeddingServiceStub(embedding),
                ranking_service_pb2_grpc.RankingServiceStub(ranking),
                embedding,
            )

    async def ask(self, call: Awaitable[Any]) -> Any:
        """Await a call and count what became of it."""
        try:
            answer = await call
        except grpc.aio.AioRpcError as error:
            self.answers[f"{error.code().name}: {error.details()}"[:100]] += 1
            return None
        self.answers["OK"] += 1
        return answer


Attack = Callable[[Target], Coroutine[Any, Any, None]]


async def _repeatedly(callers: int, once: Callable[[], Awaitable[Any]], seconds: float = ATTACK_S) -> None:
    """Let `callers` tasks call again and again."""
    end = time.monotonic() + seconds

    async def caller() -> None:
        while time.monotonic() < end:
            await once()
            await asyncio.sleep(0)

    await asyncio.gather(*(caller() for _ in range(callers)))


async def forged_token(target: Target) -> None:
    """Page tokens whose user row is finite and far beyond what towers can take: ±3e38."""
    async with target.stubs() as (_, ranking, _):
        request = ranking_pb.RecommendRequest(user_id=rig.USER_IDS[0], k=10, paginate=True)
        token = (await ranking.Recommend(request)).next_page_token
        request.page_token = _forge(token)

        async def once() -> None:
            await target.ask(ranking.Recommend(request, timeout=DEADLINE_S))
            await asyncio.sleep(0.02)

        await _repeatedly(2, once)


def _forge(token: str) -> str:
    """Replace the user row of a token; its check is computed anew, which helps only if that takes no key."""
    data = base64.urlsafe_b64decode(token)
    body = bytearray(data[8:])
    context_size = struct.calcsize("<BBIqq?")
    row_end = len(body) - context_size
    row = np.where(np.arange(USER_DIM) % 2, 3e38, -3e38).astype("<f4").tobytes()
    body[row_end - len(row) : row_end] = row
    return base64.urlsafe_b64encode(hashlib.blake2b(body, digest_size=8).digest() + body).decode()


async def memory_bomb(target: Target) -> None:
    """Four requests of 16 MB that are nothing but empty messages, then as many as fit below 4 MiB."""
    async with target.stubs() as (_, _, channel):
        record: Any = channel.unary_unary(_RECORD)

        async def bomb() -> None:
            for size in (16 * 2**20, *[4 * 2**20 - 64] * 5):
                await target.ask(record(b"\n\0" * (size // 2), timeout=30))

        await asyncio.gather(*(bomb() for _ in range(4)))


async def gzip_bomb(target: Target) -> None:
    """Four requests of 256 MB of zeros, which gzip makes 256 kB of."""
    async with target.stubs() as (_, _, channel):
        record: Any = channel.unary_unary(_RECORD)
        calls = (record(bytes(2**28), timeout=30, compression=grpc.Compression.Gzip) for _ in range(4))
        await asyncio.gather(*(target.ask(call) for call in calls))


async def fat_user(target: Target) -> None:
    """A user who has reviewed 5,000 products, asked for 1,024 times a call and given 256 reviews a call."""
    async with target.stubs() as (embedding, _, _):
        for start in range(0, 5_120, 256):
            await target.ask(embedding.BatchRecordReviews(_reviews("fat user", start, 256), timeout=60))
        look_up = embedding_pb.BatchGetUserFeaturesRequest(user_ids=["fat user"] * 1_024)

        async def once() -> None:
            await target.ask(embedding.BatchGetUserFeatures(look_up, timeout=30))

        await asyncio.gather(
            _repeatedly(2, once),
            target.ask(embedding.BatchRecordReviews(_reviews("fat user", 9_000, 256), timeout=60)),
        )


def _reviews(user_id: str, start: int, count: int, text: str = "fine") -> embedding_pb.BatchRecordReviewsRequest:
    """Reviews of products that nobody has."""
    names = (f"{index}-{'p' * 200}" for index in range(start, start + count))
    reviews = [
        types_pb2.Review(user_id=user_id, review_id=name, product_id=name, rating=5, text=text) for name in names
    ]
    return embedding_pb.BatchRecordReviewsRequest(reviews=reviews)


async def random_products(target: Target) -> None:
    """A hundred thousand products that nobody has, reviewed as Anonymous."""
    async with target.stubs() as (embedding, _, _):
        starts = iter(range(0, 100_000, 256))

        async def caller() -> None:
            for start in starts:
                await target.ask(embedding.BatchRecordReviews(_reviews("Anonymous", start, 256), timeout=60))

        await asyncio.gather(*(caller() for _ in range(8)))
        began = time.monotonic()
        await target.ask(embedding.GetPopularity(embedding_pb.GetPopularityRequest(), timeout=60))
        target.answers[f"GetPopularity took {1000 * (time.monotonic() - began):.0f} ms"] += 1


async def costly_batches(target: Target) -> None:
    """BatchRecommend of 1,024 users with diversity, four callers."""
    users = [rig.USER_IDS[index % len(rig.USER_IDS)] for index in range(1_024)]
    request = ranking_pb.BatchRecommendRequest(user_ids=users, k=100, diversity_strength=0.5)
    async with target.stubs() as (_, ranking, _):
        await _repeatedly(4, lambda: target.ask(ranking.BatchRecommend(request, timeout=30)))


async def endless_texts(target: Target) -> None:
    """EncodeTexts with 60 texts of 64 KiB, four callers."""
    request = embedding_pb.EncodeTextsRequest(texts=["wonderful " * 6_553] * 60)
    async with target.stubs() as (embedding, _, _):
        await _repeatedly(4, lambda: target.ask(embedding.EncodeTexts(request, timeout=30)))


async def many_connections(target: Target) -> None:
    """Ten thousand connections, half to each service, that say nothing."""
    sockets = []
    try:
        for index in range(10_000):
            host, port = (target.ranking if index % 2 else target.embedding).split(":")
            try:
                sockets.append(socket.create_connection((host, int(port)), timeout=2))
            except OSError as error:
                target.answers[type(error).__name__] += 1
            if index % 100 == 0:
                await asyncio.sleep(0)
        target.answers["connected"] = len(sockets)
        await asyncio.sleep(5)
    finally:
        for sock in sockets:
            sock.close()


async def slow_readers(target: Target) -> None:
    """Fifty open look-up calls that ask for 1,024 users again and again and never read."""
    request = embedding_pb.StreamUserFeaturesRequest(user_ids=rig.USER_IDS[:1_024])
    end = time.monotonic() + ATTACK_S

    async def caller(embedding: Any) -> None:
        call = embedding.StreamUserFeatures(timeout=30)
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError, TimeoutError):
            while time.monotonic() < end:
                await asyncio.wait_for(call.write(request), 1)
        target.answers["asked" if not call.done() else (await call.code()).name] += 1
        call.cancel()

    async with target.stubs() as (embedding, _, _):
        await asyncio.gather(*(caller(embedding) for _ in range(50)))
        await asyncio.sleep(max(0.0, end - time.monotonic()))


async def stopped_embedding(target: Target) -> None:
    """SIGSTOP of the embedding service for as long as the attack lasts: recommendations go on without features."""
    os.kill(target.embedding_pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(ATTACK_S)
    finally:
        os.kill(target.embedding_pid, signal.SIGCONT)


ATTACKS: Final[dict[str, Attack]] = {
    "forged-token": forged_token,
    "memory-bomb": memory_bomb,
    "gzip-bomb": gzip_bomb,
    "fat-user": fat_user,
    "random-products": random_products,
    "costly-batches": costly_batches,
    "endless-texts": endless_texts,
    "many-connections": many_connections,
    "slow-readers": slow_readers,
    "stopped-embedding": stopped_embedding,
}


class Others:
    """Well-behaved callers in a process of their own."""

    def __init__(self, target: Target) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_call_at_a_pace, args=(target.ranking, target.embedding, theirs))
        self._process.start()

    def stop(self) -> list[tuple[float, float, str]]:
        """What they saw: monotonic begin, seconds, kind of call and code."""
        self._pipe.send("stop")
        calls: list[tuple[float, float, str]] = self._pipe.recv()
        self._process.join()
        return calls


def _call_at_a_pace(ranking: str, embedding: str, pipe: multiprocessing.connection.Connection) -> None:
    asyncio.run(_paced_calls(ranking, embedding, pipe))


async def _paced_calls(ranking: str, embedding: str, pipe: multiprocessing.connection.Connection) -> None:
    calls: list[tuple[float, float, str]] = []
    async with (
        grpc.aio.insecure_channel(ranking, options=channel_options()) as to_ranking,
        grpc.aio.insecure_channel(embedding, options=channel_options()) as to_embedding,
    ):
        recommend = ranking_service_pb2_grpc.RankingServiceStub(to_ranking).Recommend
        record = embedding_service_pb2_grpc.EmbeddingServiceStub(to_embedding).RecordReview

        async def timed(kind: str, call: Awaitable[Any]) -> None:
            began, code = time.monotonic(), "OK"
            try:
                await call
            except grpc.aio.AioRpcError as error:
                code = error.code().name
            calls.append((began, time.monotonic() - began, f"{kind} {code}"))

        async def reader() -> None:
            while not pipe.poll():
                request = ranking_pb.RecommendRequest(user_id=random.choice(rig.USER_IDS), k=10)
                await timed("read", recommend(request, timeout=DEADLINE_S))
                await asyncio.sleep(PACE_S)

        async def writer() -> None:
            while not pipe.poll():
                name = f"{random.random()}"
                review = types_pb2.Review(
                    user_id=random.choice(rig.USER_IDS), review_id=name, product_id="p", rating=4, text=f"good {name}"
                )
                await timed("write", record(embedding_pb.RecordReviewRequest(review=review), timeout=DEADLINE_S))
                await asyncio.sleep(PACE_S)

        await asyncio.gather(*(reader() for _ in range(READERS)), *(writer() for _ in range(WRITERS)))
    pipe.send(calls)


@dataclass(frozen=True)
class Outcome:
    """What the others saw in one window."""

    calls: int
    failed: int
    p99_ms: float

    @classmethod
    def of(cls, calls: list[tuple[float, float, str]], kind: str, begin: float, end: float) -> "Outcome":
        """Of the calls of one kind that began in a window."""
        seen = [(seconds, code) for began, seconds, code in calls if begin <= began < end and code.startswith(kind)]
        failed = sum(not code.endswith(" OK") for _, code in seen)
        return cls(len(seen), failed, 1000 * float(np.quantile([s for s, _ in seen], 0.99)) if seen else float("nan"))


def attack(name: str) -> dict[str, float]:
    """Run one attack on fresh services and print what came of it."""
    with rig.services() as services, _many_files():
        target = Target(
            services.embedding.address,
            services.ranking.address,
            services.embedding.process.pid,
            services.ranking.process.pid,
        )
        others = Others(target)
        time.sleep(2 + PEACE_S)
        begin = time.monotonic()
        asyncio.run(ATTACKS[name](target))
        end = time.monotonic()
        time.sleep(DEADLINE_S)
        calls = others.stop()
        alive = [service.process.poll() is None for service in (services.ranking, services.embedding)]
        peaks = [
            _peak_mb(pid) if ok else float("nan")
            for pid, ok in zip((target.ranking_pid, target.embedding_pid), alive, strict=True)
        ]
    figures: dict[str, float] = {}
    print(f"\n{name}: {(ATTACKS[name].__doc__ or '').strip()} {end - begin:.0f} s")
    for kind in ("read", "write"):
        peace, war = Outcome.of(calls, kind, begin - PEACE_S, begin), Outcome.of(calls, kind, begin, end)
        print(
            f"  others' {kind}s: {war.failed} of {war.calls} failed (in peace {peace.failed} of {peace.calls}); "
            f"p99 {peace.p99_ms:.0f} -> {war.p99_ms:.0f} ms"
        )
        figures |= {f"{kind}s_failed": war.failed, f"{kind}_p99_ratio": war.p99_ms / peace.p99_ms}
    state = "both services live" if all(alive) else "A SERVICE DIED"
    print(f"  {state}; most memory: ranking {peaks[0]:,.0f} MB, embedding {peaks[1]:,.0f} MB")
    for answer, count in target.answers.most_common(4):
        print(f"  attacker: {count} x {answer}")
    return figures


@contextlib.contextmanager
def _many_files() -> Iterator[None]:
    """Let this process open as many files as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _peak_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def main() -> None:
    """Run the attacks that are named, or all."""
    names = sys.argv[1:] or list(ATTACKS)
    if unknown := set(names) - set(ATTACKS):
        sys.exit(f"no such attack: {', '.join(sorted(unknown))}; there are {', '.join(ATTACKS)}")
    rig.print_machine("grpcio")
    figures = {f"{name} {key}": value for name in names for key, value in attack(name).items()}
    rig.print_json(**figures)


if __name__ == "__main__":
    prepare_grpc()
    main()
