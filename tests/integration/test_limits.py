"""What one caller may cost a server, over real connections."""

import asyncio
import resource
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support.channels import open_async_channels
from tests.support.small_server import serving
from tests.support.unreading import UnreadingCaller
from twotower import interceptor
from twotower.limits import MAX_OPEN_CALLS, MAX_WATCHERS
from twotower.rpc import Server, open_async_channel
from twotower.v1 import embedding_service_pb2 as pb
from twotower.v1 import types_pb2
from twotower.v1.embedding_service_pb2_grpc import EmbeddingServiceStub

RECORD = "/twotower.v1.EmbeddingService/BatchRecordReviews"
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
LOOK_UP = pb.GetUserFeaturesRequest(user_id="ann")
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]


async def refusal(call: Awaitable[Any]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def still_serves(server: Server) -> bool:
    async with open_async_channel(f"127.0.0.1:{server.port}", options=OWN_CONNECTION) as channel:
        stub: Any = EmbeddingServiceStub(channel)
        return bool((await stub.GetUserFeatures(LOOK_UP, timeout=20)).release_id)


async def comes_to(code: grpc.StatusCode, make: Callable[[], Any]) -> bool:
    """Whether a call that is made again and again ends with a status in the end."""
    for _ in range(200):
        if await make().code() is code:
            return True
        await asyncio.sleep(0.05)
    return False


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def test_requests_are_bounded_where_no_import_needs_more() -> None:
    big = pb.BatchRecordReviewsRequest(reviews=[types_pb2.Review(text="x" * 5 * 2**20)]).SerializeToString()
    async with serving(max_admin_request_bytes=64 * 2**20) as server:
        async with open_async_channels(server.port, server.admin_port) as channel:
            assert (await refusal(channel.unary_unary(RECORD)(big))).code() is EXHAUSTED
            delete = channel.unary_unary("/twotower.v1.EmbeddingService/DeleteUser")
            answer = await delete(pb.DeleteUserRequest(user_id="x" * 5 * 2**20).SerializeToString())
            assert not pb.DeleteUserResponse.FromString(answer).deleted
        assert await still_serves(server)


@pytest.mark.parametrize(
    "bomb",
    [
        b"\x0a\x00" * 2**20,  # a million empty reviews
        b"\x0a\x02\x08\x00" * 2**19,  # of one field that no review has
        b"\x08\x00" * 2**20,  # fields that the request does not have
        b"\x0b" + b"\x0a\x00" * 2**20,  # behind a group
        b"\x0a\x00" * 2**20 + b"\x0a\xff\xff\xff\xff\x7f",
    ],
    ids=["empty", "unknown inside", "unknown", "group", "cut off"],
)
async def test_a_request_of_a_million_elements_is_refused_before_it_is_parsed(bomb: bytes) -> None:
    async with serving() as server, open_async_channel(f"127.0.0.1:{server.port}") as channel:
        before = peak_mib()
        call: Any = channel.unary_unary(RECORD)
        for error in await asyncio.gather(*(refusal(call(bomb)) for _ in range(8))):
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert error.details() in (
                "request: must have at most 4096 elements",
                "request: must be a message of the method's type; its bytes can't be parsed",
            )
        assert peak_mib() - before < 120  # eight of them parsed would take a gigabyte; their bytes are 16 MiB
        assert await still_serves(server)


async def test_an_import_may_have_many_elements_but_not_any_number() -> None:
    header = pb.ImportUsersRequest(header=pb.ImportHeader(release_id="r"))
    users = [pb.ImportedUser(user_id=str(u), reviews=[pb.ImportedReview()] * 65_000) for u in range(5)]
    batches = [pb.ImportUsersRequest(batch=pb.ImportBatch(users=users[:count])) for count in (3, 5)]
    async with (
        serving(max_admin_request_bytes=64 * 2**20) as server,
        open_async_channels(server.port, server.admin_port) as channel,
    ):
        stub: Any = EmbeddingServiceStub(channel)
        assert (await stub.ImportUsers(iter([header, batches[0]]))).user_count == 3
        error = await refusal(stub.ImportUsers(iter([header, batches[1]])))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_compressed_messages_are_refused_before_they_are_inflated() -> None:
    async with serving() as server, open_async_channel(f"127.0.0.1:{server.port}") as channel:
        stub: Any = EmbeddingServiceStub(channel)
        for compression in (grpc.Compression.Gzip, grpc.Compression.Deflate):
            error = await refusal(stub.GetUserFeatures(LOOK_UP, compression=compression))
            assert error.code() is grpc.StatusCode.UNIMPLEMENTED
        assert await still_serves(server)


async def test_metadata_is_bounded() -> None:
    async with serving() as server:
        async with open_async_channel(f"127.0.0.1:{server.port}") as channel:
            stub: Any = EmbeddingServiceStub(channel)
            for size in (20_000, 2**20):
                error = await refusal(stub.GetUserFeatures(LOOK_UP, metadata=(("x", "y" * size),), timeout=20))
                assert error.code() in (EXHAUSTED, grpc.StatusCode.UNAVAILABLE)
        assert await still_serves(server)


async def test_calls_that_stay_open_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as server:
        calls: list[Any] = []
        channels = [open_async_channel(f"127.0.0.1:{server.port}", options=OWN_CONNECTION) for _ in range(2)]
        request = pb.StreamUserFeaturesRequest(user_ids=["ann"])
        for number in range(MAX_OPEN_CALLS):
            stub: Any = EmbeddingServiceStub(channels[number % 2])
            calls.append(stub.StreamUserFeatures())
            await calls[-1].write(request)
            await calls[-1].read()
        one_more = stub.StreamUserFeatures()
        assert (await refusal(one_more.read())).code() is EXHAUSTED
        assert await still_serves(server)

        monkeypatch.setattr(interceptor, "LONG_WAIT_S", 0.0)  # as if they had waited for a minute
        for number in range(3):
            call = stub.StreamUserFeatures()
            await call.write(request)
            assert (await call.read()).release_id == "ann"
            assert await calls[number].read() is grpc.aio.EOF
            assert await calls[number].code() is grpc.StatusCode.OK
        await calls[3].write(request)
        assert (await calls[3].read()).release_id == "ann"
        for channel in channels:
            await channel.close()


async def test_answers_that_nobody_reads_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the bound each takes its memory until the service has none: 4,096 calls of 4 MiB are 16 GiB."""
    monkeypatch.setattr(interceptor, "MAX_UNREAD_BYTES", 2**22)
    request = pb.BatchGetUserFeaturesRequest(user_ids=[f"{u:0>200}" for u in range(512)])
    method = "/twotower.v1.EmbeddingService/BatchGetUserFeatures"
    async with serving() as server, open_async_channel(f"127.0.0.1:{server.port}") as channel:
        stub: Any = EmbeddingServiceStub(channel)
        answer_bytes = (await stub.BatchGetUserFeatures(request)).ByteSize()
        assert 2**16 < answer_bytes < 2**21

        async with UnreadingCaller(server.port) as caller:
            for _ in range(2**22 // answer_bytes + 1):
                await caller.call(method, request.SerializeToString())
            assert await comes_to(EXHAUSTED, lambda: stub.BatchGetUserFeatures(request))
            assert await still_serves(server)  # short answers are sent to everybody

        assert await comes_to(grpc.StatusCode.OK, lambda: stub.BatchGetUserFeatures(request))  # they went with it


async def test_a_watcher_that_leaves_takes_nobody_along() -> None:
    """With the servicer of grpcio-health-checking the others are never told again."""
    watch = health_pb2.HealthCheckRequest()
    async with serving() as server, open_async_channel(f"127.0.0.1:{server.port}") as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        leaving, staying = stub.Watch(watch), stub.Watch(watch)
        for call in (leaving, staying):
            assert (await call.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        leaving.cancel()
        await asyncio.sleep(0.1)
        for serving_now in (True, False, True):
            await server.set_serving(serving_now)
            assert (await staying.read()).status == (1 if serving_now else 2)


async def test_watchers_are_counted_and_names_are_not_kept() -> None:
    async with serving() as server, open_async_channel(f"127.0.0.1:{server.port}") as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        calls = [stub.Watch(health_pb2.HealthCheckRequest(service=str(number))) for number in range(MAX_WATCHERS)]
        for call in calls:
            assert (await call.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        assert (await refusal(stub.Watch(health_pb2.HealthCheckRequest()).read())).code() is EXHAUSTED
        error = await refusal(stub.Watch(health_pb2.HealthCheckRequest(service="x" * 300)).read())
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        error = await refusal(stub.Check(health_pb2.HealthCheckRequest(service="nothing")))
        assert error.code() is grpc.StatusCode.NOT_FOUND


async def test_a_server_that_stops_tells_those_who_watch_and_does_not_wait_for_them() -> None:
    async with serving(drain_s=3600) as server, open_async_channel(f"127.0.0.1:{server.port}") as channel:
        await server.set_serving(True)
        stub: Any = health_pb2_grpc.HealthStub(channel)
        call = stub.Watch(health_pb2.HealthCheckRequest())
        assert (await call.read()).status == health_pb2.HealthCheckResponse.SERVING
        await server.stop()
        assert (await call.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert await call.read() is grpc.aio.EOF
