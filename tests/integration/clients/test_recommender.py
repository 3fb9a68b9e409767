"""Both clients against a real gRPC server: every call, its retries, its errors, its deadline."""

import asyncio
import threading
from functools import partial

import pytest

from clients import AsyncTwotowerClient, TwotowerClient
from clients.calls import RANKING_SERVICE, Deadlines
from clients.errors import DeadlineExceeded, InvalidArgument, NotFound, Overloaded, PreconditionFailed, Unavailable
from clients.results import RecordOutcome, ReleaseLabel, UserKind
from tests.support.memory_api import RELEASE_ID, MemoryServer, planned
from twotower.errors import NotReady, ReleaseInvalid, StoreUnavailable

CALLS = {
    "recommend": ("user", 3),
    "batch_recommend": (["user", "Anonymous"], 2),
    "predict_ratings": ("user", ["p4", "p1"]),
    "get_product": ("p3",),
    "list_products": (4, "4"),
    "get_user_features": ("user",),
    "encode_texts": (["one two", "three"],),
    "list_releases": (),
    "load_release": (RELEASE_ID,),
}


class Blocking:
    """The blocking client in the shape of the asyncio one, so that every test runs on both."""

    def __init__(self, *args, **kwargs):
        self.client = TwotowerClient(*args, **kwargs)

    def __getattr__(self, name):
        return partial(asyncio.to_thread, getattr(self.client, name))

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        self.client.close()


@pytest.fixture(params=[Blocking, AsyncTwotowerClient], ids=["blocking", "asyncio"])
def connect(request, server):
    return partial(request.param, server.address, server.address)


async def test_recommend(connect):
    async with connect() as client:
        answer = await client.recommend("user", 3)
    assert [p.product_id for p in answer.products] == ["p0", "p1", "p2"]
    assert (answer.release_id, answer.user.kind, answer.timing.compute_ms) == (RELEASE_ID, UserKind.COLD, 0.25)


async def test_a_recorded_review_is_seen_by_the_next_answer(connect):
    async with connect() as client:
        recorded = await client.record_review("user", "p0", 5, title="Good", text="Very")
        answer = await client.recommend("user", 2)
        with_seen = await client.recommend("user", 2, include_seen=True)
    assert (recorded.outcome, recorded.review_count, recorded.product_known) == (RecordOutcome.RECORDED, 1, True)
    assert (answer.user.kind, answer.user.review_count, answer.user.feature_age_s) == (UserKind.WARM, 1, 90.0)
    assert [p.product_id for p in answer.products] == ["p1", "p2"]
    assert [p.product_id for p in with_seen.products] == ["p0", "p1"]


async def test_batch_recommend(connect):
    async with connect() as client:
        answer = await client.batch_recommend(["user", "Anonymous"], 2)
    assert [row.user.kind for row in answer.results] == [UserKind.COLD, UserKind.ANONYMOUS]
    assert [row.product_ids for row in answer.results] == [("p0", "p1")] * 2
    assert answer.results[0].scores.tolist() == [10.0, 9.0]


async def test_predictions_come_in_the_order_asked(connect):
    async with connect() as client:
        answer = await client.predict_ratings("user", ["p4", "p1"])
    assert [(p.product_id, p.score) for p in answer.products] == [("p4", 6.0), ("p1", 9.0)]


async def test_catalogue(connect):
    async with connect() as client:
        details = await client.get_product("p3")
        page = await client.list_products(4, "4")
    assert (details.product.name, details.release_id) == ("Product 3", RELEASE_ID)
    assert ([p.product_id for p in page.products], page.next_page_token, page.total_count) == (["p4", "p5", "p6", "p7"], "8", 10)


async def test_features_and_texts(connect):
    async with connect() as client:
        features = await client.get_user_features("user")
        texts = await client.encode_texts(["one two", "three"])
    assert features.als.tolist() == list(range(64))
    assert (texts.vectors.shape, texts.token_counts, texts.encoder_id) == ((2, 384), (2, 1), "e1")


async def test_releases(connect):
    async with connect() as client:
        loaded = await client.load_release(RELEASE_ID)
        assert await client.list_releases() == (loaded,)
    assert (loaded.label, loaded.product_count) == (ReleaseLabel.STABLE, 10)


async def test_the_whole_catalogue_is_fetched_page_by_page(server: MemoryServer, monkeypatch):
    monkeypatch.setattr("clients.recommender._PAGE_SIZE", 4)
    expected = [f"p{i}" for i in range(10)]
    async with AsyncTwotowerClient(server.address, server.address) as client:
        assert [p.product_id async for p in client.products()] == expected
    with TwotowerClient(server.address, server.address) as client:
        assert await asyncio.to_thread(lambda: [p.product_id for p in client.products()]) == expected
    assert server.memory.attempts["ListProducts"] == 6


@pytest.mark.parametrize("name", sorted(CALLS.keys() - {"load_release"}))
async def test_unavailable_is_retried(connect, server: MemoryServer, name):
    method = "".join(word.capitalize() for word in name.split("_"))
    planned(server, method, NotReady("starting"), NotReady("starting"))
    async with connect() as client:
        await getattr(client, name)(*CALLS[name])
    assert server.memory.attempts[method] == 3


async def test_a_review_whose_answer_was_lost_counts_once(connect, server: MemoryServer):
    planned(server, "RecordReview", StoreUnavailable("lost"))
    async with connect() as client:
        recorded = await client.record_review("user", "p1", 4)
    assert (recorded.outcome, recorded.review_count) == (RecordOutcome.DUPLICATE, 1)
    assert list(server.memory.reviews["user"]) == [recorded.review_id]


async def test_retries_end(connect, server: MemoryServer):
    planned(server, "Recommend", *[NotReady("no release is loaded")] * 10)
    async with connect() as client:
        with pytest.raises(Unavailable, match=f"ranking service at {server.address}: unavailable: no release is loaded"):
            await client.recommend("user", 3)
    assert server.memory.attempts["Recommend"] == 4


@pytest.mark.parametrize(
    ("name", "arguments", "error"),
    [
        ("load_release", (RELEASE_ID,), NotReady("busy")),
        ("load_release", (RELEASE_ID,), ReleaseInvalid("weights.safetensors: missing")),
        ("recommend", ("user", 3), Overloaded("the queue is full", 0.25)),
        ("recommend", ("user", 3), ValueError("a bug")),
    ],
)
async def test_nothing_else_is_retried(connect, server: MemoryServer, name, arguments, error):
    method = "".join(word.capitalize() for word in name.split("_"))
    planned(server, method, error)
    async with connect() as client:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - the class is another test's
            await getattr(client, name)(*arguments)
    assert server.memory.attempts[method] == 1
    assert "a bug" not in str(caught.value)


async def test_errors_name_field_and_bound(connect):
    async with connect() as client:
        with pytest.raises(InvalidArgument, match="k: must be 1 to 10, got 0") as caught:
            await client.recommend("user", 0)
        assert [v.field for v in caught.value.violations] == ["k"]
        with pytest.raises(NotFound, match="product 'nope' is not in release"):
            await client.get_product("nope")


async def test_overload_says_when_to_come_back(connect, server: MemoryServer):
    planned(server, "Recommend", Overloaded("the queue is full", 0.25))
    async with connect() as client:
        with pytest.raises(Overloaded, match="the queue is full") as caught:
            await client.recommend("user", 3)
    assert caught.value.retry_after_s == 0.25


async def test_a_refused_release_is_a_failed_precondition(connect, server: MemoryServer):
    planned(server, "LoadRelease", ReleaseInvalid("golden request 3: scores differ"))
    async with connect() as client:
        with pytest.raises(PreconditionFailed, match="golden request 3"):
            await client.load_release(RELEASE_ID)


async def test_no_server_is_unavailable_and_named(connect, server: MemoryServer, unused_tcp_port: int):
    address = f"127.0.0.1:{unused_tcp_port}"
    async with type(connect())(address, server.address) as client:
        with pytest.raises(Unavailable, match=f"ranking service at {address}: unavailable"):
            await client.recommend("user", 3)


async def test_deadlines_hold_for_all_attempts(connect, server: MemoryServer):
    planned(server, "Recommend", *[NotReady("starting")] * 10)
    async with connect(deadlines=Deadlines(lookup_s=0.0)) as client:
        with pytest.raises(DeadlineExceeded):
            await client.recommend("user", 3)
        with pytest.raises(Unavailable):
            await client.recommend("user", 3, timeout_s=20)


async def test_wait_returns_when_health_turns_serving(connect, server: MemoryServer):
    server.set_serving(False)
    turn = threading.Timer(0.1, server.set_serving, [True])
    turn.start()
    async with connect() as client:
        await client.wait_until_serving(timeout_s=20)
    turn.join()


async def test_a_service_without_a_release_answers(connect, server: MemoryServer):
    server.set_serving(False)
    async with connect() as client:
        await client.wait_until_answering(timeout_s=20)


async def test_wait_ends_with_the_last_status(connect, server: MemoryServer):
    server.set_serving(False)
    async with connect() as client:
        with pytest.raises(DeadlineExceeded, match=r"ranking service at \S+: not ready after 0.2 s: NOT_SERVING"):
            await client.wait_until_serving(timeout_s=0.2, services=[RANKING_SERVICE])
        with pytest.raises(DeadlineExceeded, match="SERVICE_UNKNOWN"):
            await client.wait_until_serving(timeout_s=0.2, services=["twotower.v1.Unheard"])


async def test_wait_for_a_server_that_is_not_there_yet(connect, server: MemoryServer, unused_tcp_port: int):
    async with type(connect())(f"127.0.0.1:{unused_tcp_port}", server.address) as client:
        with pytest.raises(DeadlineExceeded, match="no connection"):
            await client.wait_until_serving(timeout_s=0.2, services=[RANKING_SERVICE])
