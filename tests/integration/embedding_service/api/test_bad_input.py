"""Whatever comes in, on every field of every request and on the port itself: no crash, no INTERNAL, no change of
state.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from embedding_service.redis_store.embedded import RedisServer
from tests.support.embedding_calls import Service, StartService, features, imported_user, publish
from tests.support.importing import space_of
from tests.support.releases import product_id
from twotower.release import Release
from twotower.v1 import embedding_service_pb2 as pb

TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["", "a\0b", "ü" * 200, "x" * 70_000, "{}%", "warm", "r1", product_id(0), "../up", "\U0010ffff"]),
)
NUMBERS = st.one_of(st.integers(-(2**63), 2**63 - 1), st.sampled_from([0, 1, -1, 2**31, 384, 64]))
BLOBS = st.one_of(st.binary(max_size=20), st.sampled_from([bytes(768), b"\xff" * 768, bytes(256), b"\xff" * 256]))
FLOATS = st.floats(width=32)
STEMS: dict[int, Callable[[Any], st.SearchStrategy[Any]]] = {
    FieldDescriptor.TYPE_STRING: lambda _: TEXTS,
    FieldDescriptor.TYPE_BYTES: lambda _: BLOBS,
    FieldDescriptor.TYPE_FLOAT: lambda _: FLOATS,
    FieldDescriptor.TYPE_BOOL: lambda _: st.booleans(),
    FieldDescriptor.TYPE_UINT32: lambda _: NUMBERS.map(lambda n: abs(n) % 2**32),
    FieldDescriptor.TYPE_UINT64: lambda _: NUMBERS.map(lambda n: abs(n) % 2**64),
    FieldDescriptor.TYPE_ENUM: lambda _: st.one_of(st.integers(0, 3), NUMBERS.map(lambda n: n % 2**31)),
    FieldDescriptor.TYPE_INT32: lambda _: NUMBERS.map(lambda n: n % 2**31),
    FieldDescriptor.TYPE_INT64: lambda _: NUMBERS,
    FieldDescriptor.TYPE_MESSAGE: lambda field: messages(field.message_type._concrete_class),
}
ALLOWED = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}
WRITES = {"RecordReview", "BatchRecordReviews", "RetractReview", "DeleteUser", "ImportUsers"}
METHODS: dict[str, Any] = {method.name: method for method in pb.DESCRIPTOR.services_by_name["EmbeddingService"].methods}


def messages(kind: type[Message]) -> st.SearchStrategy[Message]:
    """Any message: every field there or not, with any value that its type can hold."""
    fields = {}
    for field in kind.DESCRIPTOR.fields:
        value = STEMS[field.type](field)
        fields[field.name] = st.lists(value, max_size=3) if field.is_repeated else value
    chosen = st.fixed_dictionaries({}, optional=fields)
    oneofs = [[field.name for field in oneof.fields] for oneof in kind.DESCRIPTOR.oneofs]

    def build(values: dict[str, Any]) -> Message:
        for names in oneofs:
            for name in names[1:] if names[0] in values else []:
                values.pop(name, None)
        return kind(**values)

    return chosen.map(build)


async def state(redis_server: RedisServer) -> dict[Any, bytes | None]:
    """Every key of a user, as Redis dumps it."""
    async with Redis.from_url(redis_server.url) as redis:
        return {key: await redis.dump(key) for key in sorted(await redis.keys("tt:{u:*"))}


async def refusal(call: Awaitable[Any]) -> grpc.aio.AioRpcError | None:
    """The error that a call ends with."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error
    return None


async def converse(call: Any, sent: Iterable[Any]) -> None:
    """Send each request when the one before is answered: what is sent to a call that has ended hides, in the client,
    what it ended with.
    """
    for request in sent:
        await call.write(request)
        if await call.read() is grpc.aio.EOF:
            break
    await call.done_writing()


@pytest.fixture
async def published(start_service: StartService, redis_server: RedisServer, release: Release) -> Service:
    service = await start_service(store=redis_server.url)
    await publish(service, release, [imported_user("warm", ["a", "b"])])
    return service


@given(data=st.data())
@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
async def test_any_message_is_answered_or_refused_by_name(
    published: Service, redis_server: RedisServer, data: st.DataObject
) -> None:
    method = METHODS[data.draw(st.sampled_from(sorted(METHODS)))]
    request = messages(method.input_type._concrete_class)
    sent: Any = data.draw(st.lists(request, max_size=3) if method.client_streaming else request)
    before = await state(redis_server)
    call = getattr(published.stub, method.name)
    if method.server_streaming:
        refused = await refusal(converse(call(), sent))
    else:
        refused = await refusal(call(iter(sent) if method.client_streaming else sent))
    assert refused is None or (refused.code() in ALLOWED and refused.details()), refused
    assert (refused is None and method.name in WRITES) or await state(redis_server) == before


@given(batch=messages(pb.ImportBatch))
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
async def test_an_import_of_any_users_is_whole_or_refused(
    published: Service, redis_server: RedisServer, release: Release, batch: pb.ImportBatch
) -> None:
    header = pb.ImportHeader(release_id=release.release_id, space=space_of(release), user_count=len(batch.users))
    before = await state(redis_server)
    parts = [pb.ImportUsersRequest(header=header), pb.ImportUsersRequest(batch=batch)]
    refused = await refusal(published.stub.ImportUsers(iter(parts)))
    assert refused is None or (refused.code() in ALLOWED and await state(redis_server) == before), refused


@given(
    garbage=st.one_of(
        st.binary(max_size=200), st.binary(max_size=200).map(lambda tail: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + tail)
    )
)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
async def test_garbage_on_the_port_harms_nobody(published: Service, garbage: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", published.port)
    writer.write(garbage)
    writer.write_eof()
    try:
        async with asyncio.timeout(0.2):
            await reader.read(100)
    except (TimeoutError, ConnectionError):
        pass
    writer.close()
    assert (await features(published, "warm")).review_count == 2


@given(garbage=st.binary(max_size=300))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
async def test_bytes_that_are_no_message_are_refused(published: Service, garbage: bytes) -> None:
    one: Any = published.channel.unary_unary("/twotower.v1.EmbeddingService/RecordReview")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await one(garbage)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    stream: Any = published.channel.stream_unary("/twotower.v1.EmbeddingService/ImportUsers")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stream(iter([garbage]))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    conversation: Any = published.channel.stream_stream("/twotower.v1.EmbeddingService/StreamUserFeatures")
    refused = await refusal(converse(conversation(), [garbage, b"\xff"]))  # the first may happen to be a user id
    assert refused is not None
    assert refused.code() is grpc.StatusCode.INVALID_ARGUMENT
