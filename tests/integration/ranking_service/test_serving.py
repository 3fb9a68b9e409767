"""A real ranking server and a real embedding protocol, one release with random weights; expectations come from the
numpy reference.
"""

import asyncio
import logging
import shutil
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from tests.integration.ranking_service.conftest import PRODUCTS, SEEN, Clients, ranking_settings, running
from tests.support.fake_embedding import FakeEmbedding, warm_user
from tests.support.releases import product_id, write_random_release
from twotower.features import ALS_DIM, user_rows
from twotower.model import score_catalogue
from twotower.release import Release
from twotower.v1 import ranking_service_pb2 as pb
from twotower.v1 import release_service_pb2 as rpb
from twotower.v1 import types_pb2

ATOL = 1e-4
pytestmark = pytest.mark.asyncio(loop_scope="module")


def reference(release: Release, rows: np.ndarray) -> np.ndarray:
    return score_catalogue(release.weights, rows, release.product_fusion)


async def status_of(call: object) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call  # type: ignore[misc]
    return failed.value


async def test_recommends_unseen_products_best_first(clients: Clients, release: Release, warm_rows: np.ndarray) -> None:
    answer = await clients.ranking.Recommend(pb.RecommendRequest(user_id="warm 5", k=PRODUCTS))
    scores = reference(release, warm_rows[5:6])[0]
    expected = {product_id(i): score for i, score in enumerate(scores) if product_id(i) not in SEEN}
    assert {r.product_id for r in answer.recommendations} == expected.keys()
    assert len(answer.recommendations) == PRODUCTS - 2
    for recommendation in answer.recommendations:
        score = expected[recommendation.product_id]
        assert recommendation.score == pytest.approx(score, abs=ATOL)
        assert recommendation.predicted_rating == pytest.approx(np.clip(score, 0, 5), abs=ATOL)
    ranked = [r.score for r in answer.recommendations]
    assert ranked == sorted(ranked, reverse=True)
    product = release.catalogue[int(answer.recommendations[0].product_id.split("-")[1])]
    assert (answer.recommendations[0].name, answer.recommendations[0].brand) == (product.name, product.brand)
    assert answer.release_id == release.release_id
    assert answer.user == pb.UserContext(
        kind=types_pb2.USER_KIND_WARM,
        review_count=3,
        als_origin=types_pb2.ALS_ORIGIN_FOLDED_IN,
        feature_age=answer.user.feature_age,
    )
    assert answer.user.feature_age.seconds == 30
    assert answer.timing.compute.ToNanoseconds() > 0

    everything = await clients.ranking.Recommend(pb.RecommendRequest(user_id="warm 5", k=PRODUCTS, include_seen=True))
    assert len(everything.recommendations) == PRODUCTS


async def test_a_batch_in_columns_equals_its_singles(clients: Clients, release: Release, warm_rows: np.ndarray) -> None:
    ids = [f"warm {i}" for i in range(300)] + ["stranger", "warm 0"]
    answer = await clients.ranking.BatchRecommend(pb.BatchRecommendRequest(user_ids=ids, k=7))
    assert len(answer.results) == len(ids)
    assert answer.results[301].product_ids == answer.results[0].product_ids
    assert answer.results[300].user.kind == types_pb2.USER_KIND_COLD
    for i in (0, 127, 128, 299):
        result = answer.results[i]
        single = (await clients.ranking.Recommend(pb.RecommendRequest(user_id=ids[i], k=7))).recommendations
        assert [r.product_id for r in single] == list(result.product_ids)
        scores = np.frombuffer(result.scores.values, "<f4")
        np.testing.assert_allclose(scores, [r.score for r in single], atol=1e-5)
        expected = reference(release, warm_rows[i : i + 1])[0][[int(p.split("-")[1]) for p in result.product_ids]]
        np.testing.assert_allclose(scores, expected, atol=ATOL)
        assert len(result.predicted_ratings.values) == 28


async def test_predictions_keep_their_order_and_repeats(
    clients: Clients, release: Release, warm_rows: np.ndarray
) -> None:
    rows = [9, 3, 9, 0]
    answer = await clients.ranking.PredictRatings(
        pb.PredictRatingsRequest(user_id="warm 1", product_ids=map(product_id, rows))
    )
    assert [p.product_id for p in answer.predictions] == [product_id(row) for row in rows]
    np.testing.assert_allclose(
        [p.score for p in answer.predictions], reference(release, warm_rows[1:2])[0][rows], atol=ATOL
    )
    failed = await status_of(
        clients.ranking.PredictRatings(pb.PredictRatingsRequest(user_id="u", product_ids=[product_id(0), "nothing"]))
    )
    assert failed.code() is grpc.StatusCode.NOT_FOUND
    assert "'nothing'" in str(failed.details())


async def test_concurrent_requests_share_look_ups_and_keep_their_own_answers(
    clients: Clients, embedding: FakeEmbedding, release: Release, warm_rows: np.ndarray
) -> None:
    async def best(i: int) -> tuple[str, float]:
        (only,) = (
            await clients.ranking.Recommend(pb.RecommendRequest(user_id=f"warm {i}", k=1, include_seen=True))
        ).recommendations
        return only.product_id, only.score

    embedding.blocked.clear()
    first = asyncio.create_task(best(0))
    await embedding.called.wait()
    others = [asyncio.create_task(best(i)) for i in range(1, 150)]
    await asyncio.sleep(0.1)  # some of them have come by then, and wait
    embedding.blocked.set()
    answers = await asyncio.gather(first, *others)
    for (product, score), scores in zip(answers, reference(release, warm_rows[:150]), strict=True):
        assert score == pytest.approx(scores.max(), abs=ATOL)
        assert scores[int(product.split("-")[1])] == pytest.approx(scores.max(), abs=ATOL)
    assert sum(map(len, embedding.calls)) == 150
    assert len(embedding.calls) < 150


async def test_catalogue(clients: Clients, release: Release) -> None:
    product = (await clients.ranking.GetProduct(pb.GetProductRequest(product_id=product_id(7)))).product
    assert (product.name, product.review_count) == (release.catalogue[7].name, release.catalogue[7].review_count)
    ids, token = [], ""
    while True:
        page = await clients.ranking.ListProducts(pb.ListProductsRequest(page_size=15, page_token=token))
        ids += [p.product_id for p in page.products]
        assert page.total_count == PRODUCTS
        token = page.next_page_token
        if not token:
            break
    assert ids == [p.product_id for p in release.catalogue]
    similar = await clients.ranking.SimilarProducts(pb.SimilarProductsRequest(product_id=product_id(7), k=5))
    assert len(similar.products) == 5
    assert product_id(7) not in {s.product.product_id for s in similar.products}


BAD = [
    ("Recommend", pb.RecommendRequest(user_id="u"), grpc.StatusCode.INVALID_ARGUMENT, ["k"]),
    ("Recommend", pb.RecommendRequest(user_id="", k=99), grpc.StatusCode.INVALID_ARGUMENT, ["user_id", "k"]),
    ("Recommend", pb.RecommendRequest(user_id="x" * 257, k=1), grpc.StatusCode.INVALID_ARGUMENT, ["user_id"]),
    ("BatchRecommend", pb.BatchRecommendRequest(k=1), grpc.StatusCode.INVALID_ARGUMENT, ["user_ids"]),
    ("PredictRatings", pb.PredictRatingsRequest(user_id="u"), grpc.StatusCode.INVALID_ARGUMENT, ["product_ids"]),
    ("SimilarProducts", pb.SimilarProductsRequest(product_id="nothing", k=1), grpc.StatusCode.NOT_FOUND, []),
    ("GetProduct", pb.GetProductRequest(product_id="nothing"), grpc.StatusCode.NOT_FOUND, []),
    ("ListProducts", pb.ListProductsRequest(page_token="x"), grpc.StatusCode.INVALID_ARGUMENT, ["page_token"]),
    ("UpsertProducts", pb.UpsertProductsRequest(), grpc.StatusCode.INVALID_ARGUMENT, ["products"]),
    ("LoadRelease", rpb.LoadReleaseRequest(release_id="../x"), grpc.StatusCode.INVALID_ARGUMENT, ["release_id"]),
    ("LoadRelease", rpb.LoadReleaseRequest(release_id="nothing"), grpc.StatusCode.NOT_FOUND, []),
    ("SetLabel", rpb.SetLabelRequest(), grpc.StatusCode.INVALID_ARGUMENT, ["release_id"]),
    ("Rollback", rpb.RollbackRequest(), grpc.StatusCode.NOT_FOUND, []),
]


async def test_bad_requests_are_refused_by_field(clients: Clients) -> None:
    for method, request, code, fields in BAD:
        stub = clients.ranking if hasattr(clients.ranking, method) else clients.releases
        failed = await status_of(getattr(stub, method)(request))
        assert failed.code() is code, (method, failed.details())
        status = rpc_status.from_call(failed)
        found = []
        for detail in status.details:
            bad = error_details_pb2.BadRequest()
            assert detail.Unpack(bad)
            found += [violation.field for violation in bad.field_violations]
        assert found == fields, method
    assert (await clients.ranking.Recommend(pb.RecommendRequest(user_id="u", k=1))).recommendations


async def test_features_of_another_space_are_not_used_and_raise_an_alarm(
    clients: Clients, embedding: FakeEmbedding, caplog: pytest.LogCaptureFixture
) -> None:
    request = pb.RecommendRequest(user_id="warm 0", k=5, include_seen=True)
    cold = await clients.ranking.Recommend(pb.RecommendRequest(user_id="nobody", k=5))
    embedding.space = types_pb2.EmbeddingSpace(encoder_id="e", als_id="another")
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            answer = await clients.ranking.Recommend(request)
            assert answer.user.degraded
            assert answer.recommendations == cold.recommendations
        embedding.space, embedding.failure = None, grpc.StatusCode.FAILED_PRECONDITION
        assert (await clients.ranking.Recommend(request)).user.degraded
    alarms = [record.message for record in caplog.records if "does not have its space" in record.message]
    assert len(alarms) == 1
    assert "another" in alarms[0]
    embedding.failure = None
    assert not (await clients.ranking.Recommend(request)).user.degraded


async def test_without_the_embedding_service_answers_are_cold_and_say_so(
    release: Release, warm_rows: np.ndarray
) -> None:
    embedding = FakeEmbedding(release, {"warm 0": warm_user(warm_rows[0], SEEN)})
    port = await embedding.start()
    settings = ranking_settings(release.path.parent, port, release=release.release_id, lookup_timeout_ms=300)
    cold = reference(
        release,
        user_rows(np.zeros((2, ALS_DIM), np.float32), np.stack([release.global_mean] * 2), np.array([False, True])),
    )

    async with running(settings) as clients:

        async def scores(user_id: str) -> tuple[pb.UserContext, np.ndarray]:
            ids = map(product_id, range(PRODUCTS))
            answer = await clients.ranking.PredictRatings(pb.PredictRatingsRequest(user_id=user_id, product_ids=ids))
            return answer.user, np.array([p.score for p in answer.predictions])

        async def is_degraded() -> None:
            for user_id, kind, expected in (
                ("warm 0", types_pb2.USER_KIND_COLD, cold[0]),
                ("anonymous", types_pb2.USER_KIND_ANONYMOUS, cold[1]),
            ):
                context, found = await scores(user_id)
                assert (context.kind, context.degraded, context.als_origin) == (kind, True, types_pb2.ALS_ORIGIN_NONE)
                np.testing.assert_allclose(found, expected, atol=ATOL)

        async def is_whole() -> None:
            context, found = await scores("warm 0")
            assert (context.kind, context.degraded) == (types_pb2.USER_KIND_WARM, False)
            np.testing.assert_allclose(found, reference(release, warm_rows[:1])[0], atol=ATOL)

        await is_whole()
        for code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.RESOURCE_EXHAUSTED):
            embedding.failure = code
            await is_degraded()
        embedding.failure = None
        embedding.blocked.clear()  # slower than the deadline
        await is_degraded()
        embedding.blocked.set()
        await is_whole()
        await embedding.stop()
        await is_degraded()
        await embedding.start(port)
        while (await scores("warm 0"))[0].degraded:  # noqa: ASYNC110 - the channel's reconnect backoff has no event
            await asyncio.sleep(0.05)
        await is_whole()
    await embedding.stop()


async def test_not_serving_until_a_release_is_loaded_and_a_bad_one_changes_nothing(tmp_path: Path) -> None:
    old, new, bad = (write_random_release(tmp_path, products=PRODUCTS, seed=seed) for seed in (1, 2, 3))
    (bad.path / "product_fusion.npy").write_bytes((bad.path / "product_fusion.npy").read_bytes()[:-8])
    settings = ranking_settings(tmp_path, embedding_port=1)  # nobody is there: all users are cold
    async with running(settings) as clients:
        assert not await clients.serving()
        failed = await status_of(clients.ranking.Recommend(pb.RecommendRequest(user_id="u", k=1)))
        assert failed.code() is grpc.StatusCode.UNAVAILABLE
        loaded = await clients.releases.LoadRelease(rpb.LoadReleaseRequest(release_id=old.release_id))
        assert (loaded.release.release_id, loaded.release.label) == (old.release_id, rpb.RELEASE_LABEL_STABLE)
        assert await clients.serving()
        token = (await clients.ranking.ListProducts(pb.ListProductsRequest(page_size=5))).next_page_token

        failed = await status_of(clients.releases.LoadRelease(rpb.LoadReleaseRequest(release_id=bad.release_id)))
        assert failed.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert "product_fusion.npy" in str(failed.details())
        assert (await clients.ranking.Recommend(pb.RecommendRequest(user_id="u", k=1))).release_id == old.release_id

        await clients.releases.LoadRelease(rpb.LoadReleaseRequest(release_id=new.release_id))
        assert (await clients.ranking.Recommend(pb.RecommendRequest(user_id="u", k=1))).release_id == new.release_id
        listed = (await clients.releases.ListReleases(rpb.ListReleasesRequest())).releases
        labels = {info.release_id: info.label for info in listed}
        assert labels == {
            old.release_id: rpb.RELEASE_LABEL_UNSPECIFIED,
            new.release_id: rpb.RELEASE_LABEL_STABLE,
            bad.release_id: rpb.RELEASE_LABEL_UNSPECIFIED,
        }
        failed = await status_of(clients.ranking.ListProducts(pb.ListProductsRequest(page_token=token)))
        assert failed.code() is grpc.StatusCode.INVALID_ARGUMENT

    shutil.rmtree(old.path)
    async with running(settings) as clients:  # a restart resumes with the release loaded last
        assert await clients.serving()
        assert (
            await clients.ranking.GetProduct(pb.GetProductRequest(product_id=product_id(0)))
        ).release_id == new.release_id


async def test_a_client_that_leaves_does_not_harm_the_others(clients: Clients, embedding: FakeEmbedding) -> None:
    embedding.blocked.clear()
    first = clients.ranking.Recommend(pb.RecommendRequest(user_id="warm 0", k=1))
    await embedding.called.wait()
    calls = [clients.ranking.Recommend(pb.RecommendRequest(user_id=f"warm {i}", k=1)) for i in range(1, 9)]
    short = clients.ranking.Recommend(pb.RecommendRequest(user_id="warm 9", k=1), timeout=0.05)
    assert (await status_of(short)).code() is grpc.StatusCode.DEADLINE_EXCEEDED
    for call in calls[::2]:
        call.cancel()
    embedding.blocked.set()
    for call in (first, *calls[1::2]):
        answer = await call
        assert len(answer.recommendations) == 1
        assert not answer.user.degraded
