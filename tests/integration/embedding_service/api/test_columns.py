"""Features in columns are the features in messages, whoever is asked for."""

from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.embedding_calls import Service, StartService, array, imported_user, publish, record
from tests.support.importing import space_of
from tests.support.releases import product_id
from twotower.release import Release
from twotower.v1 import embedding_service_pb2 as pb
from twotower.v1 import types_pb2

NAMES = ["warm", "live", "unknown product", "cold", "other {cold}", "Anonymous", " BYAMAZON customer"]


@pytest.fixture
async def published(start_service: StartService, release: Release) -> Service:
    """Warm users of every origin of the ALS part."""
    service = await start_service()
    await publish(service, release, [imported_user("warm", ["a", "b"])])
    for number in range(3):
        await record(service, f"r{number}", "live", product_id(number))
    await record(service, "r", "unknown product", "no such product")
    return service


async def ask(service: Service, user_ids: list[str], layout: Any, **request: Any) -> pb.BatchGetUserFeaturesResponse:
    answer: pb.BatchGetUserFeaturesResponse = await service.stub.BatchGetUserFeatures(
        pb.BatchGetUserFeaturesRequest(user_ids=user_ids, layout=layout, **request)
    )
    return answer


def in_messages(columns: pb.UserFeatureColumns, user_ids: list[str]) -> list[types_pb2.UserFeatures]:
    """Columns taken apart by hand, ages left out."""
    bert, als = (
        np.frombuffer(columns.bert_means, "<f4").reshape(-1, 384),
        np.frombuffer(columns.als, "<f4").reshape(-1, 64),
    )
    ends = np.cumsum([0, *columns.seen_counts]).tolist()
    assert len(bert) == len(als) == len(columns.kinds) == len(user_ids)
    assert ends[-1] == len(columns.seen_product_ids)
    return [
        types_pb2.UserFeatures(
            user_id=user_id,
            kind=columns.kinds[i],
            bert_mean=types_pb2.Vector(values=bert[i].tobytes(), dimension=384),
            als=types_pb2.Vector(values=als[i].tobytes(), dimension=64),
            als_origin=columns.als_origins[i],
            review_count=columns.review_counts[i],
            seen_product_ids=columns.seen_product_ids[ends[i] : ends[i + 1]],
            space=columns.space,
        )
        for i, user_id in enumerate(user_ids)
    ]


async def test_an_open_call_answers_what_single_calls_do(published: Service, release: Release) -> None:
    call = published.stub.StreamUserFeatures()
    for user_ids in ([NAMES[0]], NAMES, NAMES[::-1] * 100):
        await call.write(pb.StreamUserFeaturesRequest(user_ids=user_ids, space=space_of(release)))
        found = await call.read()
        expected = await ask(published, user_ids, pb.FEATURE_LAYOUT_COLUMNS, space=space_of(release))
        assert found.release_id == expected.release_id
        assert in_messages(found.columns, user_ids) == in_messages(expected.columns, user_ids)
    await call.write(pb.StreamUserFeaturesRequest(user_ids=["u", ""]))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "user_ids[1]: must be 1 to 256 bytes" in str(caught.value.details())


@given(
    user_ids=st.lists(
        st.one_of(st.sampled_from(NAMES), st.sampled_from(NAMES), st.text("abc{}%", min_size=1)),
        min_size=1,
        max_size=60,
    )
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_columns_are_the_messages(published: Service, release: Release, user_ids: list[str]) -> None:
    before = await ask(published, user_ids, pb.FEATURE_LAYOUT_MESSAGES)
    found = await ask(published, user_ids, pb.FEATURE_LAYOUT_COLUMNS, space=space_of(release))
    after = await ask(published, user_ids, pb.FEATURE_LAYOUT_UNSPECIFIED)
    assert not found.features
    assert not before.HasField("columns")
    assert found.release_id == before.release_id == release.release_id
    for first, age_us, last in zip(before.features, found.columns.ages_us, after.features, strict=True):
        if first.HasField("age"):
            assert first.age.ToMicroseconds() <= age_us <= last.age.ToMicroseconds()
        else:
            assert age_us == -1
        first.ClearField("age")
    assert in_messages(found.columns, user_ids) == list(before.features)


async def test_the_known_users_are_of_every_origin(published: Service) -> None:
    columns = (await ask(published, NAMES, pb.FEATURE_LAYOUT_COLUMNS)).columns
    warm, cold, anonymous = types_pb2.USER_KIND_WARM, types_pb2.USER_KIND_COLD, types_pb2.USER_KIND_ANONYMOUS
    trained, folded_in, none = types_pb2.ALS_ORIGIN_TRAINED, types_pb2.ALS_ORIGIN_FOLDED_IN, types_pb2.ALS_ORIGIN_NONE
    assert list(columns.kinds) == [warm, warm, warm, cold, cold, anonymous, anonymous]
    assert list(columns.als_origins) == [trained, folded_in, none, none, none, none, none]
    assert list(columns.seen_counts) == [2, 3, 1, 0, 0, 0, 0]
    [only] = (await ask(published, ["warm"], pb.FEATURE_LAYOUT_MESSAGES)).features
    assert np.frombuffer(columns.bert_means, "<f4")[:384].tobytes() == array(only.bert_mean).tobytes()


async def test_a_layout_that_is_not_known_is_refused(published: Service) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask(published, ["warm"], 7)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "layout: must be one of FEATURE_LAYOUT_UNSPECIFIED" in str(caught.value.details())
