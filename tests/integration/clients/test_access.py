"""Who calls: tokens and certificates of clients, which are read again when their files change."""

import asyncio
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from clients.errors import InvalidArgument, InvalidFile, PermissionDenied, Unauthenticated
from tests.integration.clients.conftest import Connect, Run
from tests.support.authority import Authority
from tests.support.memory_api import MemoryServer, memory_server
from tests.support.recording_server import RecordingServer, fingerprint, recording_server
from tests.support.tokens import Signer, write_keys
from twotower import file_watch
from twotower.addresses import ChannelSettings
from twotower.identity import Identities, Tokens
from twotower.rpc import ChannelTls
from twotower.token_file import TokenFile
from twotower.v1 import embedding_service_pb2 as pb
from twotower.v1.embedding_service_pb2_grpc import EmbeddingServiceStub

BEYOND = "192.0.2.1:50052"  # of no network


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("first\n")
    return path


def renew(path: Path, token: str) -> None:
    path.write_text(token)


@pytest.fixture
def recorder() -> Iterator[RecordingServer]:
    with recording_server() as server:
        yield server


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are looked at for every call, so that the test need not wait."""
    monkeypatch.setattr(file_watch, "LOOK_EVERY_S", 0.0)


@pytest.fixture
def connected(connect: Connect, recorder: RecordingServer) -> Callable[..., object]:
    def make(**options: object) -> object:
        where = dict.fromkeys(("admin_ranking", "admin_embedding"), recorder.address)
        return connect.func(recorder.address, recorder.address, **where, **options)

    return make


async def test_every_call_carries_the_token_and_a_renewed_one_from_then_on(
    connected: Callable[..., Any], recorder: RecordingServer, token: Path, at_once: None
) -> None:
    async with connected(token_file=token) as client:
        await client.list_products()
        await client.list_releases()
        renew(token, "second")
        await client.list_spaces()
        renew(token, "")  # while it is being written
        await client.delete_user("Maria")
    assert [(call[0].rpartition("/")[2], call[1]) for call in recorder.calls] == [
        ("ListProducts", "Bearer first"),
        ("ListReleases", "Bearer first"),
        ("ListSpaces", "Bearer second"),
        ("DeleteUser", "Bearer second"),
    ]


async def test_the_variable_names_it_and_false_is_none(
    connected: Callable[..., Any], recorder: RecordingServer, token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWOTOWER_TOKEN_FILE", str(token))
    for options in ({}, {"token_file": False}):
        async with connected(**options) as client:
            await client.list_products()
    assert [call[1] for call in recorder.calls] == ["Bearer first", ""]


async def test_a_token_is_refused_in_plaintext_beyond_this_machine(connect: Connect, token: Path) -> None:
    for where in ("ranking", "embedding", "admin_ranking", "admin_embedding"):
        with pytest.raises(InvalidArgument, match=f"token_file: is not sent in plaintext .* to {BEYOND}: .*--tls"):
            connect.func(**{where: BEYOND}, token_file=token)
    async with connect.func(BEYOND, BEYOND, token_file=token, tls=True):
        pass
    async with connect.func("localhost:1", "unix:/tmp/none", token_file=str(token)):
        pass


@pytest.mark.parametrize("value", [17, True, ""])
def test_what_is_no_file_is_refused(connect: Connect, value: object) -> None:
    with pytest.raises(InvalidArgument, match="token_file: must be a path, or False, got"):
        connect.func(token_file=value)


def test_a_file_that_is_not_there_is_refused_by_name(connect: Connect, tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match="no-token: token_file: can't be read: No such file"):
        connect.func(token_file=tmp_path / "no-token")


async def test_refusals_say_what_to_set(connected: Callable[..., Any], recorder: RecordingServer, token: Path) -> None:
    recorder.refusal = (grpc.StatusCode.UNAUTHENTICATED, "no token")
    async with connected() as client:
        with pytest.raises(Unauthenticated) as refused:
            await client.list_products()
    assert str(refused.value) == (
        f"ranking service at {recorder.address}: unauthenticated: no token (say who calls by --token-file, "
        "TWOTOWER_TOKEN_FILE or token_file, or by --tls-certificate and --tls-key)"
    )
    assert refused.value.code is grpc.StatusCode.UNAUTHENTICATED
    async with connected(token_file=token) as client:
        with pytest.raises(Unauthenticated, match=rf"no token \(called with the token of {token}, which --token-file"):
            await client.list_products()
        recorder.refusal = (grpc.StatusCode.PERMISSION_DENIED, "DeleteUser is for operators")
        with pytest.raises(PermissionDenied) as denied:
            await client.delete_user("Maria")
    assert str(denied.value) == (
        f"embedding service at {recorder.address}: permission denied: DeleteUser is for operators (called at "
        f"--admin-embedding (TWOTOWER_ADMIN_EMBEDDING) with {token})"
    )


def test_commands_send_it_too(run: Run, recorder: RecordingServer, token: Path) -> None:
    for where in (("--token-file", str(token)), ()):
        variable = {} if where else {"TWOTOWER_TOKEN_FILE": str(token)}
        assert run("product", "list", "--ranking", recorder.address, *where, **variable).exit_code == 0
        assert run("release", "list", "--admin-ranking", recorder.address, *where, **variable).exit_code == 0
    assert [call[1] for call in recorder.calls] == ["Bearer first"] * 4
    recorder.refusal = (grpc.StatusCode.UNAUTHENTICATED, "no token")
    refused = run("product", "list", "--ranking", recorder.address)
    assert refused.exit_code == 1
    assert "say who calls by --token-file, TWOTOWER_TOKEN_FILE" in refused.stderr
    beyond = run("product", "list", "--ranking", BEYOND, "--token-file", str(token))
    assert beyond.exit_code == 1
    assert "is not sent in plaintext beyond this machine" in beyond.stderr
    missing = run("product", "list", "--token-file", "nowhere")
    assert missing.exit_code == 2
    assert "--token-file" in missing.stderr


def test_commands_with_stubs_of_their_own_send_it(recorder: RecordingServer, token: Path) -> None:
    settings = ChannelSettings(token=TokenFile(token))
    with settings.open(recorder.address) as channel:
        stub = EmbeddingServiceStub(channel)
        stub.ListSpaces(pb.ListSpacesRequest(), timeout=10)
        stub.ImportUsers(iter([pb.ImportUsersRequest()]), timeout=10)
        recorder.refusal = (grpc.StatusCode.PERMISSION_DENIED, "you are a reader")
        with pytest.raises(grpc.RpcError) as refused:
            stub.ListSpaces(pb.ListSpacesRequest(), timeout=10)
    assert [call[1] for call in recorder.calls] == ["Bearer first"] * 3
    assert settings.explain(refused.value, "admin_embedding") == (
        f"PERMISSION_DENIED: you are a reader (called at --admin-embedding (TWOTOWER_ADMIN_EMBEDDING) with {token})"
    )
    with pytest.raises(InvalidArgument, match="is not sent in plaintext"):
        settings.open(BEYOND)


class Certificates:
    """Two pairs of certificate and key, of which one after the other is the client's."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        authority = Authority(folder)
        self._server = authority.issue("server")
        self._pairs = [authority.issue(name) for name in ("old", "new")]
        self.tls = ChannelTls(authority.path, folder / "own-certificate.pem", folder / "own-key.pem")
        self.fingerprints = [fingerprint(_content(pair.certificate)) for pair in self._pairs]
        self.put(0, "certificate", "key")

    def put(self, number: int, *kinds: str) -> None:
        """Put files of a pair in place."""
        for kind in kinds:
            (self._folder / f"own-{kind}.pem").write_bytes(_content(getattr(self._pairs[number], kind)))

    def server_credentials(self) -> grpc.ServerCredentials:
        """Of a server that asks for a client's certificate."""
        pair = _content(self._server.key), _content(self._server.certificate)
        return grpc.ssl_server_credentials([pair], _content(self.tls.ca), require_client_auth=True)


def _content(path: Path | None) -> bytes:
    assert path
    return path.read_bytes()


async def test_renewed_certificates_are_shown_without_a_restart_and_calls_in_flight_end_where_they_are(
    connect: Connect, tmp_path: Path, at_once: None, caplog: pytest.LogCaptureFixture
) -> None:
    own = Certificates(tmp_path)
    old, new = own.fingerprints
    with recording_server(own.server_credentials()) as server:
        async with connect.func(server.address, server.address, tls=own.tls) as client:
            await client.list_products()
            in_flight = asyncio.create_task(client.similar_products("p", timeout_s=30))
            await asyncio.to_thread(server.waiting.wait, 30)
            own.put(1, "certificate")  # its key is not there yet
            with caplog.at_level(logging.WARNING):
                await client.list_products()
            own.put(1, "key")
            await client.list_products()
            await client.list_spaces()
            server.gate.set()
            await in_flight
            await client.list_products()
    assert [call[2] for call in server.calls] == [old, old, old, new, new, new]
    assert "the connections go on with the certificates that they have" in caplog.text


async def test_real_tokens_and_roles(connect: Connect, run: Run, tmp_path: Path, at_once: None) -> None:
    """What an authenticating server refuses, and what a renewed token changes."""
    signer = Signer()
    identities = Identities(Tokens(write_keys(tmp_path / "keys.json", signer), "twotower"), None)
    token = tmp_path / "token"
    renew(token, signer.token("reader"))
    with memory_server(authenticator=identities) as server:
        async with connect.func(**server.addresses) as client:
            await client.wait_until_serving(10)  # health is open to everybody
            with pytest.raises(Unauthenticated, match=r"no token was sent.*say who calls by --token-file"):
                await client.recommend("Maria")
        async with connect.func(**server.addresses, token_file=token) as client:
            await client.recommend("Maria")
            with pytest.raises(PermissionDenied, match=rf"requires the role writer; .* role reader .* with {token}"):
                await client.record_review("Maria", "p1", 5)
            renew(token, signer.token("writer"))
            await client.record_review("Maria", "p1", 5)
            with pytest.raises(PermissionDenied, match=r"role operator; .* .called at --admin-ranking"):
                await client.list_releases()
            renew(token, signer.token("operator"))
            await client.list_releases()
            await client.delete_user("Maria")
            renew(token, signer.token("operator", exp=1))
            with pytest.raises(Unauthenticated, match=r"the token has expired .*called with the token of"):
                await client.recommend("Maria")
        renew(token, signer.token("operator"))
        for command in (("release", "list"), ("recommend", "Maria"), ("user", "delete", "Maria", "--yes")):
            done = await asyncio.to_thread(run, *command, TWOTOWER_TOKEN_FILE=str(token), **server.variables)
            assert done.exit_code == 0, done.output
            refused = await asyncio.to_thread(run, *command, **server.variables)
            assert (refused.exit_code, "say who calls by --token-file" in refused.stderr) == (1, True)


async def test_an_operators_method_sent_to_the_main_listener_says_which_address_is_wrong(
    connect: Connect, server: MemoryServer
) -> None:
    wrong = server.addresses | {"admin_ranking": server.address}
    async with connect.func(**wrong) as client:
        with pytest.raises(PermissionDenied) as refused:
            await client.list_releases()
    assert "the service's setting admin_listen" in str(refused.value)
    assert "called at --admin-ranking (TWOTOWER_ADMIN_RANKING) with neither a token nor" in str(refused.value)


def test_the_health_check_speaks_tls(tmp_path: Path) -> None:
    own = Certificates(tmp_path)
    files = {"ca": own.tls.ca, "certificate": own.tls.certificate, "key": own.tls.key}
    flags = [word for name, path in files.items() for word in (f"--tls-{name}", str(path))]
    variables = {f"TWOTOWER_TLS_{name.upper()}": str(path) for name, path in files.items()}

    def check(*arguments: str, **environment: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "twotower.health", *arguments]
        done = subprocess.run(
            command, env={"PYTHONPATH": ":".join(sys.path), **environment}, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stderr.strip()

    with recording_server(own.server_credentials()) as server:
        assert check(server.address, *flags) == (0, "")
        assert check(server.address, **variables) == (0, "")
        assert check(server.address, *flags[2:], **{"TWOTOWER_TLS_CA": str(own.tls.ca)}) == (0, "")
        port = server.address.rpartition(":")[2]
        assert check(f"localhost:{port}", *flags, "--tls-server-name", "127.0.0.1") == (0, "")
        code, why = check(f"localhost:{port}", *flags)
        assert (code, why) == (1, "its certificate is for another host name")
        assert check(server.address)[0] == 1
        code, why = check(server.address, *flags[:2], "--timeout", "5")
        assert code == 1
        assert "certificate" in why
        assert check(server.address, "--tls-ca", str(tmp_path / "none"))[1].startswith(
            f"{tmp_path / 'none'}: certificate authority"
        )
    code, why = check(server.address, *flags)
    assert code == 1
    assert "nobody listens there" in why
