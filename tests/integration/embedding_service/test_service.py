"""The service over gRPC, on a real Redis, with an encoder that needs no model."""

import asyncio
import os
import shutil
import signal
import struct
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import redis
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2
from grpc_status.rpc_status import from_call

from embedding_service.redis_store.embedded import RedisServer
from embedding_service.redis_store.keys import UserKeys
from tests.support.embedding_calls import (
    Service,
    StartService,
    array,
    features,
    health,
    imported_user,
    publish,
    record,
    until_answered,
)
from tests.support.encoders import hash_vector
from tests.support.importing import space_of
from tests.support.releases import product_id
from twotower.als import fold_in
from twotower.features import MAX_REVIEWS_PER_USER, review_text, running_mean
from twotower.release import Release
from twotower.suppressions import Suppressions, suppress
from twotower.v1 import embedding_service_pb2 as pb
from twotower.v1 import types_pb2

NOWHERE = "redis://127.0.0.1:1/0"  # nobody listens on port 1


@pytest.fixture
async def service(start_service: StartService) -> Service:
    return await start_service()


@pytest.fixture
async def published(service: Service, release: Release) -> Service:
    """A service with an active release and one warm user of two reviews."""
    await publish(service, release, [imported_user("warm", ["a", "b"])])
    return service


async def test_before_a_release_it_says_so_and_serves_after_the_import(service: Service, release: Release) -> None:
    await health(service, health_pb2.HealthCheckResponse.NOT_SERVING)
    for call in (
        features(service, "u"),
        record(service, "r"),
        service.stub.EncodeTexts(pb.EncodeTextsRequest(texts=["a"])),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "no release is active yet" in str(caught.value.details())
    response = await publish(service, release, [imported_user("u", ["a"]), imported_user(" ANONYMOUS", ["b"])])
    assert (response.user_count, response.review_count, response.anonymous_skipped_count) == (1, 1, 1)
    assert response.release_id == release.release_id
    await health(service, health_pb2.HealthCheckResponse.SERVING)


async def test_features_of_a_warm_a_cold_and_an_anonymous_user(published: Service, release: Release) -> None:
    users = ["warm", "cold", "BYAMAZON customer", "warm"]
    response = await published.stub.BatchGetUserFeatures(pb.BatchGetUserFeaturesRequest(user_ids=users))
    warm, cold, anonymous, again = response.features
    assert response.release_id == release.release_id
    assert [f.user_id for f in response.features] == users
    assert again == warm

    assert warm.kind == types_pb2.USER_KIND_WARM
    assert warm.als_origin == types_pb2.ALS_ORIGIN_TRAINED
    assert warm.review_count == 2
    assert 0 <= warm.age.ToSeconds() < 60
    assert list(warm.seen_product_ids) == [product_id(0), product_id(1)]
    np.testing.assert_array_equal(array(warm.als), np.full(64, 0.5, np.float32))
    sums = hash_vector("a").astype(np.int64) + hash_vector("b")
    np.testing.assert_array_equal(array(warm.bert_mean), running_mean(sums, 2))

    for features_, kind in ((cold, types_pb2.USER_KIND_COLD), (anonymous, types_pb2.USER_KIND_ANONYMOUS)):
        assert features_.kind == kind
        assert features_.als_origin == types_pb2.ALS_ORIGIN_NONE
        assert features_.review_count == 0
        assert not features_.HasField("age")
        np.testing.assert_array_equal(array(features_.bert_mean), release.global_mean)
        np.testing.assert_array_equal(array(features_.als), np.zeros(64))
    assert warm.space == space_of(release)


async def test_a_review_sent_three_times_counts_once_and_is_folded_in(published: Service, release: Release) -> None:
    answers = [await record(published, "r1", "new", product_id(3), rating=4.5) for _ in range(3)]
    assert [a.outcome for a in answers] == [
        pb.RECORD_OUTCOME_RECORDED,
        pb.RECORD_OUTCOME_DUPLICATE,
        pb.RECORD_OUTCOME_DUPLICATE,
    ]
    assert all(a.review_count == 1 and a.product_known and a.release_id == release.release_id for a in answers)
    found = await features(published, "new")
    assert found.als_origin == types_pb2.ALS_ORIGIN_FOLDED_IN
    np.testing.assert_array_equal(array(found.als), fold_in(release.item_factors, [{3: 4.5}])[0])
    np.testing.assert_array_equal(array(found.bert_mean), running_mean(hash_vector("Fine text of r1").astype(int), 1))


@pytest.mark.parametrize(
    "change", [{"title": "Other"}, {"text": "other"}, {"rating": 3.0}, {"product": product_id(9)}, {"review_time": 5}]
)
async def test_the_same_id_with_other_content_replaces(
    published: Service, release: Release, change: dict[str, Any]
) -> None:
    if "review_time" in change:
        change = {"review_time": {"seconds": 5}}
    await record(published, "r1", "new", product_id(3))
    answer = await record(published, "r1", "new", **({"product": product_id(3)} | change))
    assert (answer.outcome, answer.review_count) == (pb.RECORD_OUTCOME_REPLACED, 1)
    found = await features(published, "new")
    text = review_text(change.get("title", "Fine"), change.get("text", "text of r1"))
    np.testing.assert_array_equal(array(found.bert_mean), running_mean(hash_vector(text).astype(int), 1))
    item = 9 if "product" in change else 3
    np.testing.assert_array_equal(
        array(found.als), fold_in(release.item_factors, [{item: change.get("rating", 4.0)}])[0]
    )
    assert list(found.seen_product_ids) == [product_id(item)]


async def test_two_hundred_concurrent_reviews_of_one_user_sum_exactly(published: Service, release: Release) -> None:
    await asyncio.gather(*(record(published, f"r{i}", "busy", product_id(i % 20), rating=i % 6) for i in range(200)))
    found = await features(published, "busy")
    sums: Any = np.sum([hash_vector(f"Fine text of r{i}") for i in range(200)], axis=0, dtype=np.int64)
    assert found.review_count == 200
    np.testing.assert_array_equal(array(found.bert_mean), running_mean(sums, 200))
    stars = {item: float(sum(i % 6 for i in range(200) if i % 20 == item)) for item in range(20)}
    np.testing.assert_array_equal(array(found.als), fold_in(release.item_factors, [stars])[0])


async def test_a_product_that_the_release_does_not_know_counts_for_the_text_only(published: Service) -> None:
    answer = await record(published, "r1", "new", "no such product")
    assert not answer.product_known
    found = await features(published, "new")
    assert (found.kind, found.als_origin) == (types_pb2.USER_KIND_WARM, types_pb2.ALS_ORIGIN_NONE)
    assert not array(found.als).any()
    assert list(found.seen_product_ids) == ["no such product"]


async def test_an_anonymous_review_is_accepted_and_not_stored(published: Service) -> None:
    answer = await record(published, "r1", "An Anonymous customer ")
    assert (answer.outcome, answer.review_count) == (pb.RECORD_OUTCOME_ANONYMOUS, 0)
    assert not (await published.stub.DeleteUser(pb.DeleteUserRequest(user_id="An Anonymous customer "))).deleted


async def test_a_text_that_is_cut_says_so_and_blanks_are_filled(published: Service) -> None:
    assert (await record(published, "r1", text="word " * 100)).text_truncated
    assert not (await record(published, "r2", "blank", title="", text=" ")).text_truncated
    np.testing.assert_array_equal(
        array((await features(published, "blank")).bert_mean),
        running_mean(hash_vector("No Title No Review").astype(int), 1),
    )


async def test_many_reviews_in_one_call_are_answered_one_by_one(published: Service) -> None:
    rows = [("u1", "r1"), ("u2", "r1"), ("u1", "r1"), ("Anonymous", "r1"), ("u1", "r2")]
    reviews = [types_pb2.Review(user_id=u, review_id=r, product_id=product_id(1), rating=5, text=r) for u, r in rows]
    response = await published.stub.BatchRecordReviews(pb.BatchRecordReviewsRequest(reviews=reviews))
    assert [(r.outcome, r.review_count) for r in response.results] == [
        (pb.RECORD_OUTCOME_RECORDED, 1),
        (pb.RECORD_OUTCOME_RECORDED, 1),
        (pb.RECORD_OUTCOME_DUPLICATE, 1),
        (pb.RECORD_OUTCOME_ANONYMOUS, 0),
        (pb.RECORD_OUTCOME_RECORDED, 2),
    ]
    assert (await features(published, "u1")).als_origin == types_pb2.ALS_ORIGIN_FOLDED_IN


async def test_a_retracted_review_is_gone_exactly(published: Service, release: Release) -> None:
    await record(published, "r1", "new", product_id(1))
    only = await features(published, "new")
    await record(published, "r2", "new", product_id(2), rating=0.3)
    response = await published.stub.RetractReview(pb.RetractReviewRequest(user_id="new", review_id="r2"))
    assert (response.retracted, response.review_count, response.release_id) == (True, 1, release.release_id)
    after = await features(published, "new")
    for found in (only, after):
        found.ClearField("age")
    assert after == only
    response = await published.stub.RetractReview(pb.RetractReviewRequest(user_id="new", review_id="r2"))
    assert (response.retracted, response.review_count) == (False, 1)
    assert (await published.stub.DeleteUser(pb.DeleteUserRequest(user_id="new"))).deleted
    assert (await features(published, "new")).kind == types_pb2.USER_KIND_COLD


async def test_encoded_texts_are_whole_numbers_of_the_fixed_point(published: Service, release: Release) -> None:
    response = await published.stub.EncodeTexts(pb.EncodeTextsRequest(texts=["a b c", "", "a b c"]))
    first, _, again = response.embeddings
    assert response.encoder_id == release.manifest.encoder_id
    assert first == again
    assert (first.token_count, first.truncated) == (3, False)
    np.testing.assert_array_equal(np.rint(array(first.embedding) * 32767), hash_vector("a b c"))


async def test_sending_an_import_again_changes_nothing(published: Service, release: Release) -> None:
    before = await features(published, "warm")
    await publish(published, release, [imported_user("warm", ["a", "b"])])
    after = await features(published, "warm")
    assert after.age.ToNanoseconds() >= before.age.ToNanoseconds()
    for found in (before, after):
        found.ClearField("age")
    assert after == before


async def test_the_space_before_can_still_be_asked_for(
    published: Service, release: Release, other_release: Release
) -> None:
    await record(published, "r9", "live", product_id(3))
    await publish(published, other_release, [imported_user("warm", ["a", "b"], als=0.25)])
    old = await features(published, "live", space=space_of(release))
    new = await features(published, "live")
    np.testing.assert_array_equal(array(old.als), fold_in(release.item_factors, [{3: 4.0}])[0])
    np.testing.assert_array_equal(array(new.als), fold_in(other_release.item_factors, [{3: 4.0}])[0])
    assert old.space == space_of(release)
    assert new.space == space_of(other_release)
    assert array((await features(published, "warm")).als)[0] == 0.25
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await features(published, "warm", space=types_pb2.EmbeddingSpace(encoder_id="x", als_id="y"))
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def stream(*parts: pb.ImportUsersRequest) -> AsyncIterator[pb.ImportUsersRequest]:
    for part in parts:
        yield part


def header_part(release: Release, **changes: Any) -> pb.ImportUsersRequest:
    fields: dict[str, Any] = {"release_id": release.release_id, "space": space_of(release), "user_count": 1}
    return pb.ImportUsersRequest(header=pb.ImportHeader(**(fields | changes)))


def batch_part(*users: pb.ImportedUser) -> pb.ImportUsersRequest:
    return pb.ImportUsersRequest(batch=pb.ImportBatch(users=users))


async def test_an_import_that_breaks_a_rule_is_refused_and_the_active_release_stays(
    published: Service, release: Release, other_release: Release
) -> None:
    good, header = imported_user("u", ["a"]), header_part(other_release)
    long = imported_user("u", ["a"])
    long.reviews[0].fixed_point = (hash_vector("a") // 2).astype("<i2").tobytes()
    least = imported_user("u", ["a"])
    least.reviews[0].fixed_point = np.array([-32768] + [0] * 383, "<i2").tobytes()
    no_als = imported_user("u", ["a"])
    no_als.ClearField("als")
    broken: list[tuple[list[pb.ImportUsersRequest], grpc.StatusCode, str]] = [
        ([], grpc.StatusCode.INVALID_ARGUMENT, "header: must be the first"),
        ([batch_part(good)], grpc.StatusCode.INVALID_ARGUMENT, "header: must be the first"),
        ([header, header], grpc.StatusCode.INVALID_ARGUMENT, "header: must be a batch"),
        ([header, pb.ImportUsersRequest()], grpc.StatusCode.INVALID_ARGUMENT, "part: must be a batch"),
        ([header], grpc.StatusCode.INVALID_ARGUMENT, "1 users were announced, 0 came"),
        ([header, batch_part(good, good)], grpc.StatusCode.INVALID_ARGUMENT, "1 users were announced, 2 came"),
        (
            [header, batch_part(long)],
            grpc.StatusCode.INVALID_ARGUMENT,
            "users[0].reviews[0].fixed_point: must be a unit vector",
        ),
        (
            [header, batch_part(least)],
            grpc.StatusCode.INVALID_ARGUMENT,
            "users[0].reviews[0].fixed_point: must be a unit vector",
        ),
        ([header, batch_part(no_als)], grpc.StatusCode.INVALID_ARGUMENT, "users[0].als: must be 64"),
        ([header_part(other_release, release_id="no-such")], grpc.StatusCode.NOT_FOUND, "no-such"),
        ([header_part(other_release, release_id="../up")], grpc.StatusCode.INVALID_ARGUMENT, "release_id"),
        ([header_part(other_release, release_id="a\0b")], grpc.StatusCode.INVALID_ARGUMENT, "release_id"),
        ([header_part(other_release, release_id="x" * 256)], grpc.StatusCode.INVALID_ARGUMENT, "release_id"),
        ([header_part(other_release, space=space_of(release))], grpc.StatusCode.FAILED_PRECONDITION, "header.space"),
    ]
    for parts, code, message in broken:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await published.stub.ImportUsers(stream(*parts))
        assert caught.value.code() is code, caught.value
        assert message in str(caught.value.details())
    response = await published.stub.GetUserFeatures(pb.GetUserFeaturesRequest(user_id="warm"))
    assert response.release_id == release.release_id


async def test_an_edited_release_is_refused_by_the_name_of_the_file(
    start_service: StartService, release: Release, tmp_path: Path
) -> None:
    copy = tmp_path / "releases" / release.release_id
    shutil.copytree(release.path, copy)
    with (copy / "item_factors.npy").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\1")
    service = await start_service(releases=copy.parent)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await publish(service, release)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "item_factors.npy: its sha256" in str(caught.value.details())


async def test_one_import_at_a_time(service: Service, release: Release) -> None:
    header_sent = asyncio.Event()
    end = asyncio.Event()

    async def slow() -> AsyncIterator[pb.ImportUsersRequest]:
        yield header_part(release)
        yield batch_part(imported_user("u", ["a"]))
        header_sent.set()
        await end.wait()

    first = asyncio.ensure_future(service.stub.ImportUsers(slow()))
    await header_sent.wait()
    while True:  # the stream may still be on its way
        try:
            await service.stub.ImportUsers(stream(header_part(release, user_count=0)))
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                break
    end.set()
    assert (await first).user_count == 1


@pytest.mark.parametrize("says", ["nothing", "a header"])
async def test_an_import_that_says_nothing_is_ended_and_blocks_no_other(
    start_service: StartService, release: Release, says: str
) -> None:
    service = await start_service(import_idle_s=0.2)

    async def silent() -> AsyncIterator[pb.ImportUsersRequest]:
        if says == "a header":
            yield header_part(release)
        await asyncio.Event().wait()

    with pytest.raises(grpc.aio.AioRpcError, match=r"nothing was sent for 0\.2 s") as caught:
        await service.stub.ImportUsers(silent())
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await publish(service, release, [imported_user("u", ["a"])])


async def test_a_look_up_stream_that_asks_nothing_is_ended_and_a_busy_one_is_not(
    start_service: StartService, release: Release
) -> None:
    service = await start_service(stream_idle_s=0.5)
    await publish(service, release)
    call = service.stub.StreamUserFeatures()
    for _ in range(8):
        await call.write(pb.StreamUserFeaturesRequest(user_ids=["u"]))
        assert list((await call.read()).columns.review_counts) == [0]
        await asyncio.sleep(0.2)
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def test_bad_fields_are_listed_in_the_status(published: Service) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await record(published, "", rating=7)
    status = from_call(caught.value)
    bad = error_details_pb2.BadRequest()
    assert status is not None
    assert status.details[0].Unpack(bad)
    assert [violation.field for violation in bad.field_violations] == ["review.review_id", "review.rating"]


async def test_a_killed_redis_comes_back_with_all_that_was_acknowledged(
    start_service: StartService, redis_server: RedisServer, release: Release
) -> None:
    service = await start_service(store=redis_server.url, redis_timeout_ms=500)
    await publish(service, release)
    for i in range(30):
        if i in (10, 20):
            os.kill(redis_server.pid, signal.SIGKILL)
        await until_answered(partial(record, service, f"r{i}", "busy"))
    found = await features(service, "busy")
    sums: Any = np.sum([hash_vector(f"Fine text of r{i}") for i in range(30)], axis=0, dtype=np.int64)
    assert found.review_count == 30
    np.testing.assert_array_equal(array(found.bert_mean), running_mean(sums, 30))
    await health(service, health_pb2.HealthCheckResponse.SERVING)


async def test_health_follows_redis(start_service: StartService, redis_server: RedisServer, release: Release) -> None:
    service = await start_service(store=redis_server.url, redis_timeout_ms=200)
    await publish(service, release)
    await health(service, health_pb2.HealthCheckResponse.SERVING)
    os.kill(redis_server.pid, signal.SIGSTOP)
    await health(service, health_pb2.HealthCheckResponse.NOT_SERVING)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await features(service, "u")
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "nothing was half done" in str(caught.value.details())
    os.kill(redis_server.pid, signal.SIGCONT)
    await health(service, health_pb2.HealthCheckResponse.SERVING)
    assert (await features(service, "u")).kind == types_pb2.USER_KIND_COLD


@pytest.mark.parametrize("store", [NOWHERE, "redis+cluster://127.0.0.1:1", "redis+sentinel://127.0.0.1:1/main"])
async def test_a_redis_that_is_away_at_start_is_waited_for(
    start_service: StartService, caplog: pytest.LogCaptureFixture, store: str
) -> None:
    service = await start_service(store=store)
    await health(service, health_pb2.HealthCheckResponse.NOT_SERVING)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await service.stub.DeleteUser(pb.DeleteUserRequest(user_id="u"))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    while f"Redis at {store}: Redis does not answer" not in caplog.text:  # noqa: ASYNC110 - the monitor has its own pace
        await asyncio.sleep(0.01)
    assert not [entry for entry in caplog.records if entry.exc_info or "\n" in entry.getMessage()]


async def test_a_second_replica_follows_the_active_release(
    start_service: StartService, redis_server: RedisServer, release: Release, other_release: Release
) -> None:
    first, second = await start_service(store=redis_server.url), await start_service(store=redis_server.url)
    for published_release in (release, other_release):
        await publish(first, published_release)
        request = pb.GetUserFeaturesRequest(user_id="u")
        while (
            await until_answered(partial(second.stub.GetUserFeatures, request))
        ).release_id != published_release.release_id:
            pass


async def test_a_full_user_is_named_by_the_field_of_the_request(
    start_service: StartService, redis_server: RedisServer, release: Release
) -> None:
    service = await start_service(store=redis_server.url)
    await publish(service, release)
    accumulator = bytes(4 * 384) + struct.pack(">IQI", MAX_REVIEWS_PER_USER, 1, 0) + b"p"
    with redis.Redis.from_url(redis_server.url) as client:
        client.set(UserKeys("u").accumulator(release.manifest.encoder_id), accumulator)
    review = types_pb2.Review(review_id="r", user_id="u", product_id=product_id(1), rating=4, text="t")
    for call, field in (
        (service.stub.RecordReview(pb.RecordReviewRequest(review=review)), "review.user_id"),
        (service.stub.BatchRecordReviews(pb.BatchRecordReviewsRequest(reviews=[review])), "reviews[0].user_id"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert f"{field}: has {MAX_REVIEWS_PER_USER} reviews" in str(refused.value.details())


async def test_a_deleted_user_is_on_the_suppression_list(start_service: StartService, tmp_path: Path) -> None:
    for setting, path in (({}, "data/suppressed_users.jsonl"), ({"suppressions": tmp_path / "elsewhere"}, "elsewhere")):
        service = await start_service(data_dir=tmp_path / "data" if not setting else tmp_path / "other", **setting)
        for user in ("Ann", "nobody knows", "Ann"):
            await service.stub.DeleteUser(pb.DeleteUserRequest(user_id=user))
        found = Suppressions.read([tmp_path / path])
        assert abs((found.deleted_us("Ann") or 0) / 1e6 - time.time()) < 60
        assert found.deleted_us("nobody knows")
        assert found.deleted_us("Bob") is None


async def test_an_import_leaves_out_who_is_on_the_suppression_list(
    start_service: StartService, release: Release, tmp_path: Path
) -> None:
    """Redis knows nothing of the deletions: it forgets them after 90 days, and may have been emptied."""
    path = tmp_path / "list"
    for name in ("Ann", "Bea", "Cid"):
        suppress(path, name, 5_000_000)
    service = await start_service(suppressions=path)
    users = [imported_user(name, [f"{name} {i}" for i in range(3)]) for name in ("Ann", "Bea", "Cid", "Dan")]
    for user, times in zip(users, ([1, 5, 6], [1, 2, 3], [6, 7, 8], [1, 2, 3]), strict=True):
        for review, seconds in zip(user.reviews, times, strict=True):
            review.review_time.FromSeconds(seconds)
    users.append(imported_user("Cid", ["without a time"]))
    users[-1].reviews[0].review_id = "r9"
    imported = await publish(service, release, users)
    assert (imported.user_count, imported.review_count) == (3, 7)
    for name, count in (("Ann", 1), ("Bea", 0), ("Cid", 3), ("Dan", 3)):
        assert (await features(service, name)).review_count == count
    ann = await features(service, "Ann")
    np.testing.assert_array_equal(array(ann.bert_mean), running_mean(hash_vector("Ann 2").astype(int), 1))
    assert ann.als_origin == types_pb2.ALS_ORIGIN_FOLDED_IN
    path.write_text("damaged\n")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await publish(service, release, users)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "deleted users might come back" in str(caught.value.details())


async def test_a_list_that_cannot_be_written_is_said_and_the_user_is_deleted(
    start_service: StartService, release: Release, tmp_path: Path
) -> None:
    path = tmp_path / "list"
    service = await start_service(suppressions=path)
    await publish(service, release, [imported_user("warm", ["a", "b"])])
    await record(service, "r1", "Ann")
    path.unlink()
    path.mkdir()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await service.stub.DeleteUser(pb.DeleteUserRequest(user_id="Ann"))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "deleted here, but not on the suppression list" in str(caught.value.details())
    assert not (await features(service, "Ann")).review_count
