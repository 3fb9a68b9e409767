"""Both clients against a real gRPC server: retries, errors, deadlines, waiting, TLS."""

import threading
from pathlib import Path
from typing import Any

import pytest

from clients import ChannelTls, Product, ReleaseLabel, Review
from clients.calls import RANKING_SERVICE, Deadlines
from clients.errors import DeadlineExceeded, InvalidArgument, NotFound, Overloaded, PreconditionFailed, Unavailable
from clients.results import RecordOutcome
from tests.integration.clients.conftest import Connect
from tests.support.certificates import write_certificates
from tests.support.memory_api import RELEASE_ID, MemoryServer, memory_server, planned
from twotower.errors import NotReady, ReleaseInvalid, StoreUnavailable
from twotower.rpc import ServerTls

CALLS = {
    "recommend": ("user", 3),
    "batch_recommend": (["user", "Anonymous"], 2),
    "similar_products": ("p3", 2),
    "upsert_products": ([Product("new", "New")],),
    "batch_record_reviews": ([Review("user", "p1", 5)],),
    "retract_review": ("user", "r1"),
    "delete_user": ("user",),
    "batch_get_user_features": (["user"],),
    "get_popularity": (),
    "rollback": (),
    "set_label": (RELEASE_ID, ReleaseLabel.SHADOW),
    "predict_ratings": ("user", ["p4", "p1"]),
    "get_product": ("p3",),
    "list_products": (4, "4"),
    "get_user_features": ("user",),
    "encode_texts": (["one two", "three"],),
    "list_releases": (),
    "load_release": (RELEASE_ID,),
}


@pytest.mark.parametrize("name", sorted(CALLS.keys() - {"load_release", "set_label", "rollback"}))
async def test_unavailable_is_retried(connect: Connect, server: MemoryServer, name: str) -> None:
    method = "".join(word.capitalize() for word in name.split("_"))
    planned(server, method, NotReady("starting"), NotReady("starting"))
    async with connect() as client:
        await getattr(client, name)(*CALLS[name])
    assert server.memory.attempts[method] == 3


async def test_a_review_whose_answer_was_lost_counts_once(connect: Connect, server: MemoryServer) -> None:
    planned(server, "RecordReview", StoreUnavailable("lost"))
    async with connect() as client:
        recorded = await client.record_review("user", "p1", 4)
    assert (recorded.outcome, recorded.review_count) == (RecordOutcome.DUPLICATE, 1)
    assert list(server.memory.reviews["user"]) == [recorded.review_id]


async def test_retries_end(connect: Connect, server: MemoryServer) -> None:
    planned(server, "Recommend", *[NotReady("no release is loaded")] * 10)
    async with connect() as client:
        with pytest.raises(
            Unavailable, match=f"ranking service at {server.address}: unavailable: no release is loaded"
        ):
            await client.recommend("user", 3)
    assert server.memory.attempts["Recommend"] == 4


@pytest.mark.parametrize(
    ("name", "arguments", "error"),
    [
        ("load_release", (RELEASE_ID,), NotReady("busy")),
        ("load_release", (RELEASE_ID,), ReleaseInvalid("weights.safetensors: missing")),
        ("set_label", (RELEASE_ID, ReleaseLabel.STABLE), NotReady("busy")),
        ("rollback", (), NotReady("busy")),
        ("recommend", ("user", 3), Overloaded("the queue is full", 0.25)),
        ("recommend", ("user", 3), ValueError("a bug")),
    ],
)
async def test_nothing_else_is_retried(
    connect: Connect, server: MemoryServer, name: str, arguments: tuple[Any, ...], error: Exception
) -> None:
    method = "".join(word.capitalize() for word in name.split("_"))
    planned(server, method, error)
    async with connect() as client:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - the class is another test's
            await getattr(client, name)(*arguments)
    assert server.memory.attempts[method] == 1
    assert "a bug" not in str(caught.value)


async def test_errors_name_field_and_bound(connect: Connect) -> None:
    async with connect() as client:
        with pytest.raises(InvalidArgument, match="k: must be 1 to 10, got 0") as caught:
            await client.recommend("user", 0)
        assert [v.field for v in caught.value.violations] == ["k"]
        with pytest.raises(NotFound, match="product 'nope' is not in release"):
            await client.get_product("nope")


async def test_overload_says_when_to_come_back(connect: Connect, server: MemoryServer) -> None:
    planned(server, "Recommend", Overloaded("the queue is full", 0.25))
    async with connect() as client:
        with pytest.raises(Overloaded, match="the queue is full") as caught:
            await client.recommend("user", 3)
    assert caught.value.retry_after_s == 0.25


async def test_a_refused_release_is_a_failed_precondition(connect: Connect, server: MemoryServer) -> None:
    planned(server, "LoadRelease", ReleaseInvalid("golden request 3: scores differ"))
    async with connect() as client:
        with pytest.raises(PreconditionFailed, match="golden request 3"):
            await client.load_release(RELEASE_ID)


async def test_no_server_is_unavailable_and_named(connect: Connect, server: MemoryServer, unused_tcp_port: int) -> None:
    address = f"127.0.0.1:{unused_tcp_port}"
    async with type(connect())(address, server.address) as client:
        with pytest.raises(Unavailable, match=f"ranking service at {address}: unavailable"):
            await client.recommend("user", 3)


async def test_deadlines_hold_for_all_attempts(connect: Connect, server: MemoryServer) -> None:
    planned(server, "Recommend", *[NotReady("starting")] * 10)
    async with connect(deadlines=Deadlines(lookup_s=0.0)) as client:
        with pytest.raises(DeadlineExceeded):
            await client.recommend("user", 3)
        with pytest.raises(Unavailable):
            await client.recommend("user", 3, timeout_s=20)


async def test_wait_returns_when_health_turns_serving(connect: Connect, server: MemoryServer) -> None:
    server.set_serving(False)
    turn = threading.Timer(0.1, server.set_serving, [True])
    turn.start()
    async with connect() as client:
        await client.wait_until_serving(timeout_s=20)
    turn.join()


async def test_a_service_without_a_release_answers(connect: Connect, server: MemoryServer) -> None:
    server.set_serving(False)
    async with connect() as client:
        await client.wait_until_answering(timeout_s=20)


async def test_wait_ends_with_the_last_status(connect: Connect, server: MemoryServer) -> None:
    server.set_serving(False)
    async with connect() as client:
        with pytest.raises(DeadlineExceeded, match=r"ranking service at \S+: not ready after 0.2 s: NOT_SERVING"):
            await client.wait_until_serving(timeout_s=0.2, services=[RANKING_SERVICE])
        with pytest.raises(DeadlineExceeded, match="SERVICE_UNKNOWN"):
            await client.wait_until_serving(timeout_s=0.2, services=["twotower.v1.Unheard"])


async def test_wait_for_a_server_that_is_not_there_yet(
    connect: Connect, server: MemoryServer, unused_tcp_port: int
) -> None:
    async with type(connect())(f"127.0.0.1:{unused_tcp_port}", server.address) as client:
        with pytest.raises(DeadlineExceeded, match="no connection"):
            await client.wait_until_serving(timeout_s=0.2, services=[RANKING_SERVICE])


async def test_mutual_tls(connect: Connect, tmp_path: Path) -> None:
    write_certificates(tmp_path)
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    with memory_server(tls=ServerTls(certificate, key, client_ca=certificate)) as server:
        client_class = connect.func
        async with client_class(
            server.address, server.address, tls=ChannelTls(certificate, certificate, key)
        ) as client:
            assert (await client.recommend("user", 1)).release_id == RELEASE_ID
        async with client_class(server.address, server.address, tls=ChannelTls(certificate)) as client:
            with pytest.raises(Unavailable):
                await client.recommend("user", 1)
