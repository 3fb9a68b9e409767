"""The server lifecycle, with a real server and a real channel."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status

from tests.support.certificates import write_certificates
from tests.support.channels import open_async_channels
from twotower.access import Gate
from twotower.errors import FieldViolation, InvalidArgument, NotBuilt
from twotower.interceptor import Calls, ErrorInterceptor
from twotower.rpc import ChannelTls, Server, ServerTls, open_async_channel, open_channel
from twotower.v1 import embedding_service_pb2 as pb
from twotower.v1 import embedding_service_pb2_grpc

SERVICE = "twotower.v1.EmbeddingService"


class Servicer(embedding_service_pb2_grpc.EmbeddingServiceServicer):
    """Fails in every way that a handler can."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.release = asyncio.Event()

    async def GetUserFeatures(self, request: Any, context: Any) -> pb.GetUserFeaturesResponse:
        self.entered.set()
        await self.release.wait()
        return pb.GetUserFeaturesResponse(release_id=request.user_id)

    async def RecordReview(self, request: Any, context: Any) -> pb.RecordReviewResponse:
        raise InvalidArgument([FieldViolation("review.rating", "must be 0 to 5, got 7")])

    async def DeleteUser(self, request: Any, context: Any) -> pb.DeleteUserResponse:
        raise ZeroDivisionError("a secret")

    async def RetractReview(self, request: Any, context: Any) -> pb.RetractReviewResponse:
        raise NotBuilt("comes later")

    async def ImportUsers(self, request_iterator: AsyncIterator[Any], context: Any) -> pb.ImportUsersResponse:
        async for message in request_iterator:
            if message.WhichOneof("part") != "batch":
                raise InvalidArgument([FieldViolation("part", "must be a batch")])
        return pb.ImportUsersResponse(user_count=3)

    async def StreamUserFeatures(
        self, request_iterator: AsyncIterator[Any], context: Any
    ) -> AsyncIterator[pb.StreamUserFeaturesResponse]:
        async for request in request_iterator:
            if "refused" in request.user_ids:
                raise InvalidArgument([FieldViolation("user_ids[0]", "is refused")])
            if "a bug" in request.user_ids:
                raise ZeroDivisionError("a secret")
            if "slow" in request.user_ids:
                self.entered.set()
                await self.release.wait()
            yield pb.StreamUserFeaturesResponse(release_id=request.user_ids[0])


@pytest.fixture
def servicer() -> Servicer:
    return Servicer()


@pytest.fixture
async def server(servicer: Servicer) -> AsyncIterator[Server]:
    server = Server(
        "127.0.0.1:0",
        [SERVICE],
        lambda s: embedding_service_pb2_grpc.add_EmbeddingServiceServicer_to_server(servicer, s),
        admin_listen="127.0.0.1:0",
        drain_s=5,
    )
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def stub(server: Server) -> AsyncIterator[Any]:
    async with open_async_channels(server.port, server.admin_port) as channel:
        yield embedding_service_pb2_grpc.EmbeddingServiceStub(channel)


async def failure(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def test_a_domain_error_becomes_its_status_with_details(stub: Any) -> None:
    error = await failure(stub.RecordReview(pb.RecordReviewRequest()))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    status = rpc_status.from_call(error)
    detail = error_details_pb2.BadRequest()
    assert status.details[0].Unpack(detail)
    assert detail.field_violations[0].field == "review.rating"


async def test_a_bug_is_internal_and_says_nothing(stub: Any, caplog: pytest.LogCaptureFixture) -> None:
    error = await failure(stub.DeleteUser(pb.DeleteUserRequest()))
    assert error.code() is grpc.StatusCode.INTERNAL
    assert error.details() == "internal error"
    assert "a secret" in caplog.text


async def test_streams_are_mapped_too(stub: Any) -> None:
    assert (await stub.ImportUsers(iter([pb.ImportUsersRequest(batch=pb.ImportBatch())]))).user_count == 3
    error = await failure(stub.ImportUsers(iter([pb.ImportUsersRequest(header=pb.ImportHeader())])))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


def asking(user_id: str) -> pb.StreamUserFeaturesRequest:
    return pb.StreamUserFeaturesRequest(user_ids=[user_id])


@pytest.mark.parametrize(
    ("user_id", "code", "details"),
    [
        ("refused", grpc.StatusCode.INVALID_ARGUMENT, "user_ids[0]: is refused"),
        ("a bug", grpc.StatusCode.INTERNAL, "internal error"),
    ],
)
async def test_an_error_ends_an_open_call_after_the_answers_before_it(
    stub: Any, user_id: str, code: grpc.StatusCode, details: str
) -> None:
    call = stub.StreamUserFeatures()
    for name in ("a", "b"):
        await call.write(asking(name))
        assert (await call.read()).release_id == name
    await call.write(asking(user_id))
    error = await failure(call.read())
    assert (error.code(), error.details()) == (code, details)
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        assert rpc_status.from_call(error).details[0].Is(error_details_pb2.BadRequest.DESCRIPTOR)


async def test_stop_ends_open_calls_that_wait_and_answers_those_that_were_asked(servicer: Servicer) -> None:
    """With an hour to drain: whatever is not ended by itself would keep the server from stopping."""
    server = Server(
        "127.0.0.1:0",
        [SERVICE],
        lambda s: embedding_service_pb2_grpc.add_EmbeddingServiceServicer_to_server(servicer, s),
        admin_listen="127.0.0.1:0",
        drain_s=3600,
    )
    await server.start()
    async with open_async_channel(f"127.0.0.1:{server.port}") as channel:
        stub = embedding_service_pb2_grpc.EmbeddingServiceStub(channel)
        waiting, asked = stub.StreamUserFeatures(), stub.StreamUserFeatures()
        await waiting.write(asking("a"))
        assert (await waiting.read()).release_id == "a"
        await asked.write(asking("slow"))
        await servicer.entered.wait()
        stopping = asyncio.create_task(server.stop())
        assert await waiting.read() is grpc.aio.EOF
        assert not stopping.done()
        servicer.release.set()
        assert (await asked.read()).release_id == "slow"
        assert await asked.read() is grpc.aio.EOF
        assert await waiting.code() is await asked.code() is grpc.StatusCode.OK
        await stopping


async def test_unbuilt_and_unknown_methods_are_unimplemented(stub: Any, server: Server) -> None:
    assert (await failure(stub.RetractReview(pb.RetractReviewRequest()))).code() is grpc.StatusCode.UNIMPLEMENTED
    async with open_async_channel(f"127.0.0.1:{server.port}") as channel:
        unknown: Any = channel.unary_unary("/twotower.v1.EmbeddingService/Nothing")
        assert (await failure(unknown(b""))).code() is grpc.StatusCode.UNIMPLEMENTED


async def test_health_follows_set_serving(server: Server) -> None:
    async with open_async_channel(f"127.0.0.1:{server.port}") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for serving in (False, True, False):
            await server.set_serving(serving)
            for service in ("", SERVICE):
                answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
                assert answer.status == (1 if serving else 2)


async def test_reflection_describes_the_service(server: Server) -> None:
    def describe() -> tuple[set[str], int]:
        with open_channel(f"127.0.0.1:{server.port}") as channel:
            database = ProtoReflectionDescriptorDatabase(channel)
            pool = descriptor_pool.DescriptorPool(database)
            return set(database.get_services()), len(pool.FindServiceByName(SERVICE).methods)

    services, methods = await asyncio.to_thread(describe)
    assert {SERVICE, "grpc.health.v1.Health"} <= services
    assert methods == len(pb.DESCRIPTOR.services_by_name["EmbeddingService"].methods)


async def test_stop_lets_calls_in_flight_end_and_refuses_new_ones(
    server: Server, servicer: Servicer, stub: Any
) -> None:
    call = asyncio.ensure_future(stub.GetUserFeatures(pb.GetUserFeaturesRequest(user_id="u")))
    await servicer.entered.wait()
    stopping = asyncio.create_task(server.stop())
    while (
        await failure(stub.RecordReview(pb.RecordReviewRequest(), timeout=5))
    ).code() is grpc.StatusCode.INVALID_ARGUMENT:
        pass  # until the listener is closed
    servicer.release.set()
    assert (await call).release_id == "u"
    await stopping


async def test_a_port_that_is_taken_is_an_error(server: Server) -> None:
    with pytest.raises(OSError, match=r"listen: can't listen on .*: address already in use"):
        Server(f"127.0.0.1:{server.port}", [], lambda _: None, admin_listen="127.0.0.1:0")
    with pytest.raises(OSError, match=r"admin_listen: can't listen on .*: address already in use"):
        Server("127.0.0.1:0", [], lambda _: None, admin_listen=f"127.0.0.1:{server.port}")


async def test_a_socket_in_no_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"admin_listen: can't listen on .* the path must be in a folder"):
        Server("127.0.0.1:0", [SERVICE], lambda _: None, admin_listen=f"unix:{tmp_path}/nowhere/socket")


async def test_mutual_tls(tmp_path: Path, servicer: Servicer) -> None:
    write_certificates(tmp_path)
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    server = Server(
        "127.0.0.1:0",
        [SERVICE],
        lambda s: embedding_service_pb2_grpc.add_EmbeddingServiceServicer_to_server(servicer, s),
        admin_listen="127.0.0.1:0",
        tls=ServerTls(certificate, key, client_ca=certificate),
    )
    await server.start()
    servicer.release.set()
    request = pb.GetUserFeaturesRequest(user_id="u")
    for tls, code in (
        (ChannelTls(certificate, certificate, key), None),
        (ChannelTls(certificate), grpc.StatusCode.UNAVAILABLE),
    ):
        async with open_async_channel(f"127.0.0.1:{server.port}", tls) as channel:
            call = embedding_service_pb2_grpc.EmbeddingServiceStub(channel).GetUserFeatures(request, timeout=10)
            if code is None:
                assert (await call).release_id == "u"
            else:
                assert (await failure(call)).code() is code
    await server.stop()


async def test_operators_have_a_listener_of_their_own(server: Server) -> None:
    """The refused requests are not even parsed: these bytes are no message."""
    calls = [("unary_unary", "RecordReview"), ("stream_stream", "StreamUserFeatures"), ("unary_unary", "DeleteUser")]
    for port, refused, setting in ((server.port, calls[2:], "admin_listen"), (server.admin_port, calls[:2], "listen")):
        async with open_async_channel(f"127.0.0.1:{port}") as channel:
            for kind, name in refused:
                call: Any = getattr(channel, kind)(f"/{SERVICE}/{name}")
                made = call(b"\xff") if kind == "unary_unary" else call(iter([b"\xff"])).read()
                error = await failure(made)
                assert error.code() is grpc.StatusCode.PERMISSION_DENIED
                details = str(error.details())
                assert details.startswith(f"{name} is ")
                assert details.endswith(f"the service's setting {setting}")
            answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
            assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_a_call_that_no_gate_can_ask_about_is_refused() -> None:
    """A method of one request and many answers, such as health's watch, would otherwise be open to everybody."""
    served: Any = grpc.unary_stream_rpc_method_handler(lambda *_: None)

    async def handler(_: Any) -> Any:
        return served

    interceptor = ErrorInterceptor(Gate(admin=False), Calls())
    for method, is_served in ((f"/{SERVICE}/GetUserFeatures", False), ("/grpc.health.v1.Health/Watch", True)):
        assert (await interceptor.intercept_service(handler, SimpleNamespace(method=method)) is served) is is_served


class Slow(Servicer):
    """Deletes nobody, for as long as it may."""

    async def DeleteUser(self, request: Any, context: Any) -> pb.DeleteUserResponse:
        try:
            await asyncio.Event().wait()
        finally:
            self.release.set()
        return pb.DeleteUserResponse()


async def test_a_call_whose_deadline_has_passed_is_in_the_audit_log_with_its_caller(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "twotower.audit")
    servicer = Slow()
    server = Server(
        "127.0.0.1:0",
        [SERVICE],
        lambda s: embedding_service_pb2_grpc.add_EmbeddingServiceServicer_to_server(servicer, s),
        admin_listen="127.0.0.1:0",
    )
    await server.start()
    async with open_async_channels(server.port, server.admin_port) as channel:
        stub: Any = embedding_service_pb2_grpc.EmbeddingServiceStub(channel)
        error = await failure(stub.DeleteUser(pb.DeleteUserRequest(), timeout=0.2))
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.wait_for(servicer.release.wait(), 10)
        await server.stop()
    [line] = [record.getMessage() for record in caplog.records if record.name == "twotower.audit"]
    assert line.startswith("DeleteUser by anybody (no authentication) from ipv4:127.0.0.1:")
    assert ": CANCELLED in " in line
