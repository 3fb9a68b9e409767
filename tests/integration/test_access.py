"""Callers who are known and who are not, over real connections with real certificates, keys and tokens."""

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support.authority import Authority
from tests.support.channels import open_async_channels
from tests.support.memory_api import SERVICES
from tests.support.memory_state import RELEASE_ID
from tests.support.small_server import serving
from tests.support.tokens import Signer, bearer, write_keys
from twotower.identity import Certificates, Identities, Tokens
from twotower.rpc import ChannelTls, Server, ServerTls, open_async_channel
from twotower.v1 import embedding_service_pb2 as pb
from twotower.v1 import release_service_pb2
from twotower.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from twotower.v1.release_service_pb2_grpc import ReleaseServiceStub
from twotower.v1.types_pb2 import Review

DENIED, UNKNOWN = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED
LOOK_UP = pb.GetUserFeaturesRequest(user_id="ann")
REVIEW = pb.RecordReviewRequest(review=Review(review_id="r", user_id="ann", product_id="p0", rating=4))
LOAD = release_service_pb2.LoadReleaseRequest(release_id=RELEASE_ID)


async def code(call: Awaitable[Any]) -> grpc.StatusCode:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def codes(
    server: Server, metadata: Any = (), tls: ChannelTls | None = None
) -> tuple[grpc.StatusCode, grpc.StatusCode, grpc.StatusCode]:
    """What a look-up, a review and the loading of a release end with."""
    async with open_async_channels(server.port, server.admin_port, tls) as channel:
        embedding: Any = EmbeddingServiceStub(channel)
        releases: Any = ReleaseServiceStub(channel)
        return (
            await code(embedding.GetUserFeatures(LOOK_UP, metadata=metadata)),
            await code(embedding.RecordReview(REVIEW, metadata=metadata)),
            await code(releases.LoadRelease(LOAD, metadata=metadata)),
        )


OK = grpc.StatusCode.OK


async def test_tokens_and_their_roles(tmp_path: Path) -> None:
    signer, stranger = Signer("k1"), Signer("k1")
    keys = write_keys(tmp_path / "keys.json", signer)
    async with serving(Identities(Tokens(keys, "twotower"), None)) as server:
        for token, expected in (
            (signer.token("operator"), (OK, OK, OK)),
            (signer.token("writer"), (OK, OK, DENIED)),
            (signer.token("reader"), (OK, DENIED, DENIED)),
            (signer.token(), (DENIED, DENIED, DENIED)),
            (stranger.token("operator"), (UNKNOWN, UNKNOWN, UNKNOWN)),
            (signer.token("operator", exp=time.time() - 60), (UNKNOWN, UNKNOWN, UNKNOWN)),
        ):
            assert await codes(server, bearer(token)) == expected
        for metadata in ((), (("authorization", "Basic YTpi"),)):
            assert await codes(server, metadata) == (UNKNOWN, UNKNOWN, UNKNOWN)
        async with open_async_channel(f"127.0.0.1:{server.port}") as channel:
            answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
            assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING
            describe: Any = channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
            assert await code(describe(iter([b""])).read()) is UNKNOWN
            garbage: Any = channel.unary_unary(f"/{SERVICES[0]}/RecordReview")
            assert await code(garbage(b"\xff")) is UNKNOWN  # not even parsed
            nothing: Any = channel.unary_unary(f"/{SERVICES[0]}/Nothing")
            assert await code(nothing(b"", metadata=bearer(signer.token("operator")))) is grpc.StatusCode.UNIMPLEMENTED


async def test_a_call_that_stays_open_ends_when_its_token_does(tmp_path: Path) -> None:
    now, signer = [time.time()], Signer()
    tokens = Tokens(write_keys(tmp_path / "keys.json", signer), "twotower", clock=lambda: now[0])
    async with serving(Identities(tokens, None)) as server, open_async_channel(f"127.0.0.1:{server.port}") as channel:
        stub: Any = EmbeddingServiceStub(channel)
        call = stub.StreamUserFeatures(metadata=bearer(signer.token("reader")))
        for moment in (0, 3000):
            now[0] += moment
            await call.write(pb.StreamUserFeaturesRequest(user_ids=["ann"]))
            assert (await call.read()).release_id == "ann"
        now[0] += 3000
        await call.write(pb.StreamUserFeaturesRequest(user_ids=["ann"]))
        assert await code(call.read()) is UNKNOWN
        assert "expired" in await call.details()


async def test_a_key_set_is_replaced_while_serving(tmp_path: Path) -> None:
    old, new = Signer("old"), Signer("new")
    keys = write_keys(tmp_path / "keys.json", old)
    async with serving(Identities(Tokens(keys, "twotower"), None)) as server:
        assert await codes(server, bearer(old.token("operator"))) == (OK, OK, OK)
        write_keys(keys, old, new)
        await until(lambda: codes(server, bearer(new.token("operator"))), (OK, OK, OK))
        assert await codes(server, bearer(old.token("operator"))) == (OK, OK, OK)
        write_keys(keys, new)
        await until(lambda: codes(server, bearer(old.token("operator"))), (UNKNOWN, UNKNOWN, UNKNOWN))


async def until(ask: Callable[[], Awaitable[Any]], expected: object) -> None:
    """The test's own time limit ends it."""
    while True:
        if await ask() == expected:
            return
        await asyncio.sleep(0.1)


async def test_certificates_and_their_roles(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path), Authority(tmp_path, "theirs")
    own = ours.issue("server")
    assert own.certificate
    assert own.key
    (tmp_path / "identities.toml").write_text('[identities]\n"spiffe://shop/ranking" = "operator"\n"web" = "reader"\n')
    identities = Identities(None, Certificates(tmp_path / "identities.toml"))
    async with serving(identities, ServerTls(own.certificate, own.key, client_ca=ours.path)) as server:
        unreachable = (grpc.StatusCode.UNAVAILABLE,) * 3
        for tls, expected in (
            (ours.issue("ranking", "spiffe://shop/ranking"), (OK, OK, OK)),
            (ours.issue("web", "web"), (OK, DENIED, DENIED)),
            (ours.issue("nobody", "nobody"), (UNKNOWN, UNKNOWN, UNKNOWN)),
            (ours.issue("old", "web", valid_s=-60), unreachable),
            (replace(theirs.issue("eve", "spiffe://shop/ranking"), ca=ours.path), unreachable),
            (ChannelTls(ours.path), unreachable),
            (theirs.issue("web2", "web"), unreachable),  # they don't trust the server
            (None, unreachable),  # plain text to a port that speaks TLS
        ):
            assert await codes(server, tls=tls) == expected


async def test_certificates_are_renewed_while_serving_without_a_failed_call(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each call has a connection of its own; in the end only the new authority is trusted, and it works."""
    old, new = Authority(tmp_path, "old"), Authority(tmp_path, "new")
    both = tmp_path / "both.pem"
    both.write_bytes(old.path.read_bytes() + new.path.read_bytes())
    own = old.issue("server")
    assert own.certificate
    assert own.key
    failed: list[object] = []
    served = 0

    async with serving(tls=ServerTls(own.certificate, own.key)) as server:

        async def ask(ca: Path) -> grpc.StatusCode:
            options = [("grpc.use_local_subchannel_pool", 1)]
            async with open_async_channel(f"127.0.0.1:{server.port}", ChannelTls(ca), options) as channel:
                stub: Any = EmbeddingServiceStub(channel)
                return await code(stub.GetUserFeatures(LOOK_UP, timeout=20))

        async def callers() -> None:
            nonlocal served
            while True:
                answer = await ask(both)
                served += 1
                if answer is not OK:
                    failed.append(answer)

        running = asyncio.create_task(callers())
        assert await ask(old.path) is OK
        own.key.write_text("not a key")  # half a renewal, and a wrong one
        await until(lambda: _logged(caplog, "stays in use"), True)
        assert await ask(old.path) is OK
        new.issue("server")
        await until(lambda: ask(new.path), OK)
        assert await ask(old.path) is grpc.StatusCode.UNAVAILABLE
        running.cancel()
    assert served > 10
    assert not failed
    assert sum("stays in use" in message for message in caplog.messages) == 1


async def _logged(caplog: pytest.LogCaptureFixture, words: str) -> bool:
    return any(words in message for message in caplog.messages)


async def test_every_operator_call_is_in_the_audit_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "twotower.audit")
    signer = Signer()
    no_release = "none\n" * 100
    keys = write_keys(tmp_path / "keys.json", signer)
    async with (
        serving(Identities(Tokens(keys, "twotower"), None)) as server,
        open_async_channels(server.port, server.admin_port) as channel,
    ):
        releases: Any = ReleaseServiceStub(channel)
        embedding: Any = EmbeddingServiceStub(channel)
        operator = bearer(signer.token("operator", sub="ann\nINFO eve"))
        await releases.LoadRelease(LOAD, metadata=operator)
        missing = release_service_pb2.LoadReleaseRequest(release_id=no_release)
        await code(releases.LoadRelease(missing, metadata=operator))
        await code(embedding.DeleteUser(pb.DeleteUserRequest(user_id="a secret"), metadata=operator))
        await code(embedding.DeleteUser(pb.DeleteUserRequest(user_id="a secret"), metadata=bearer("x")))
        await code(releases.LoadRelease(LOAD, metadata=bearer("x")))  # a stranger writes nothing into the log
        reader = bearer(signer.token("reader"))
        await code(embedding.DeleteUser(pb.DeleteUserRequest(user_id="a secret"), metadata=reader))
        await code(embedding.GetUserFeatures(LOOK_UP, metadata=reader))
    lines = [record.getMessage() for record in caplog.records if record.name == "twotower.audit"]
    assert [line.partition(" in ")[0].split(" from ")[0] for line in lines] == [
        f"LoadRelease of {RELEASE_ID!r} by 'ann\\nINFO eve'",
        f"LoadRelease of {no_release[:100]!r} by 'ann\\nINFO eve'",
        "DeleteUser by 'ann\\nINFO eve'",
        "DeleteUser by nobody known",
        "LoadRelease by nobody known",
        "DeleteUser by 'ann'",
    ]
    outcomes = [line.rpartition(": ")[2].partition(" ")[0] for line in lines]
    assert outcomes == ["OK", "NOT_FOUND", "OK", "UNAUTHENTICATED", "UNAUTHENTICATED", "PERMISSION_DENIED"]
    assert not any("\n" in line or "secret" in line for line in lines)


async def test_reflection_can_be_switched_off() -> None:
    async with (
        serving(reflection=False) as server,
        open_async_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        describe: Any = channel.unary_unary("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
        assert await code(describe(b"")) is grpc.StatusCode.UNIMPLEMENTED


def make_twice(folder: Path) -> dict[str, bytes]:
    """Run the tool, check what running it again changes, and return the files of the first time."""
    tool = [sys.executable, "tools/dev_certificates.py", "--out", str(folder)]
    subprocess.run(tool, check=True, cwd=Path(__file__).parents[2], capture_output=True)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    subprocess.run(tool, check=True, cwd=Path(__file__).parents[2], capture_output=True)
    changed = {path.name for path in folder.iterdir() if path.read_bytes() != before[path.name]}
    assert {"server.pem", "server-key.pem", "ca.pem"} <= changed
    assert not {"ca-key.pem", "signing-key.pem", "keys.json", "identities.toml"} & changed
    assert all(path.stat().st_mode & 0o077 == 0 for path in (*folder.glob("*-key.pem"), *folder.glob("*.token")))
    return before


async def test_what_make_dev_certificates_makes_is_what_the_services_take(tmp_path: Path) -> None:
    """Doing it again renews certificates and tokens, and what trusts the old authority and keys goes on."""
    before = make_twice(tmp_path)
    (tmp_path / "old-ca.pem").write_bytes(before["ca.pem"])
    identities = Identities(Tokens(tmp_path / "keys.json", "twotower"), Certificates(tmp_path / "identities.toml"))
    tls = ServerTls(tmp_path / "server.pem", tmp_path / "server-key.pem", client_ca=tmp_path / "ca.pem")
    expected = {"reader": (OK, DENIED, DENIED), "writer": (OK, OK, DENIED), "operator": (OK, OK, OK)}
    async with serving(identities, tls) as server:
        for role, outcome in expected.items():
            own = ChannelTls(tmp_path / "old-ca.pem", tmp_path / f"{role}.pem", tmp_path / f"{role}-key.pem")
            assert await codes(server, tls=own) == outcome
            token = (tmp_path / f"{role}.token").read_text()
            nobody = replace(own, certificate=tmp_path / "server.pem", key=tmp_path / "server-key.pem")
            assert await codes(server, bearer(token), nobody) == outcome
            assert await codes(server, bearer(before[f"{role}.token"].decode()), nobody) == outcome
