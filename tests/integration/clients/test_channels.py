"""The clients' connections: dropped ones are replaced, and no proxy is used that was not asked for."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients import TwotowerClient
from clients.errors import InvalidArgument, Unavailable
from tests.integration.clients.conftest import Connect
from tests.support.certificates import write_certificates
from tests.support.memory_api import MemoryServer
from tests.support.middlebox import Middlebox
from twotower import rpc
from twotower.rpc import ChannelTls, channel_options

PROXIES = ("http_proxy", "https_proxy", "grpc_proxy")


@pytest.fixture
def middlebox(server: MemoryServer) -> Iterator[Middlebox]:
    running = Middlebox(server.address)
    yield running
    running.close()


def test_pings_are_no_more_often_than_servers_tolerate() -> None:
    options = dict(channel_options())
    assert options["grpc.keepalive_time_ms"] > 10_000
    assert options["grpc.keepalive_permit_without_calls"] == 1
    assert options["grpc.http2.max_pings_without_data"] == 0


async def test_an_idle_connection_that_was_dropped_is_replaced_without_a_failed_call(
    connect: Connect, middlebox: Middlebox, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The same pings in fast motion, so that the test need not sit out the real ones.
    quick = {name: value // 100 for name, value in rpc._CHANNEL_OPTIONS.items() if "_time" in name and value > 1000}
    assert set(quick) >= {"grpc.keepalive_time_ms", "grpc.keepalive_timeout_ms", "grpc.http2.ping_timeout_ms"}
    monkeypatch.setattr(rpc, "_CHANNEL_OPTIONS", {**rpc._CHANNEL_OPTIONS, **quick})
    async with connect.func(middlebox.address, middlebox.address) as client:
        await client.recommend("user", 1)
        middlebox.drop()
        before = middlebox.connections
        # The deadline is far beyond the pings' and far below TCP's own.
        assert (await client.recommend("user", 1, timeout_s=60)).products
        assert middlebox.connections == before + 1


class Proxy:
    """An HTTP proxy that refuses everything and counts who came."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.asked: list[bytes] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self.asked.append(connection.recv(4096))
                connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    running = Proxy()
    for name in PROXIES:
        monkeypatch.setenv(name, running.url)
    for name in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    yield running
    running.close()


async def test_a_proxy_of_the_environment_is_not_used(connect: Connect, proxy: Proxy) -> None:
    async with connect() as client:
        await client.recommend("user", 1)
    assert proxy.asked == []


async def test_nor_for_this_machine_if_it_is_asked_for(connect: Connect, proxy: Proxy) -> None:
    async with connect(http_proxy=True) as client:
        await client.recommend("user", 1)
    assert proxy.asked == []


@pytest.mark.parametrize("by_variable", [False, True])
async def test_a_proxy_is_used_where_it_is_asked_for(
    connect: Connect, proxy: Proxy, by_variable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = "192.0.2.1:50052"  # of no network: it is reached through the proxy or not at all
    if by_variable:
        monkeypatch.setenv("TWOTOWER_HTTP_PROXY", "true")
    async with connect.func(elsewhere, elsewhere, http_proxy=None if by_variable else True) as client:
        with pytest.raises(Unavailable, match="proxy"):
            await client.recommend("user", 1)
    assert b"CONNECT 192.0.2.1:50052" in proxy.asked[0]


def test_files_that_are_not_what_they_should_be_are_named(tmp_path: Path) -> None:
    write_certificates(tmp_path)
    certificate, key, other = tmp_path / "certificate.pem", tmp_path / "key.pem", tmp_path / "other"
    other.mkdir()
    write_certificates(other)
    (tmp_path / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
    for tls, message in (
        (ChannelTls(tmp_path / "none.pem"), "none.pem: certificate authority: can't be read: No such file"),
        (ChannelTls(other), "other: certificate authority: can't be read: Is a directory"),
        (ChannelTls(key), "key.pem: certificate authority: must be a PEM file with a certificate"),
        (ChannelTls(tmp_path / "broken.pem"), "broken.pem: certificate authority: must be a PEM file"),
        (ChannelTls(certificate, key, certificate), "key.pem: certificate: must be a PEM file with a certificate"),
        (ChannelTls(certificate, certificate, other / "key.pem"), "key: must be the unencrypted private key of"),
        (ChannelTls(certificate, certificate), "certificate: goes together with key"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            TwotowerClient(tls=tls)
