"""Where the services are: arguments, or else the variables that commands obey too."""

from pathlib import Path

import pytest

from twotower.addresses import (
    DEFAULT_EMBEDDING,
    DEFAULT_RANKING,
    channel_tls,
    checked_address,
    embedding_address,
    proxied,
    ranking_address,
)
from twotower.errors import InvalidArgument
from twotower.rpc import ChannelTls

VARIABLES = ("TWOTOWER_RANKING", "TWOTOWER_EMBEDDING", "TWOTOWER_TLS", "TWOTOWER_TLS_CA", "TWOTOWER_HTTP_PROXY")


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_what_is_given_wins_over_the_variable_and_that_over_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (ranking_address(), embedding_address()) == (DEFAULT_RANKING, DEFAULT_EMBEDDING)
    monkeypatch.setenv("TWOTOWER_RANKING", "ranking:1")
    monkeypatch.setenv("TWOTOWER_EMBEDDING", "embedding:2")
    assert (ranking_address(), embedding_address()) == ("ranking:1", "embedding:2")
    assert (ranking_address("here:3"), embedding_address("here:4")) == ("here:3", "here:4")


def test_an_empty_variable_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, "")
    assert (ranking_address(), embedding_address()) == (DEFAULT_RANKING, DEFAULT_EMBEDDING)
    assert (channel_tls(), proxied()) == (None, False)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:1",
        "localhost:65535",
        "[::1]:50052",
        "a.b-c.example:80",
        "unix:/tmp/socket",
        "dns:///host:1",
        "ipv4:1.2.3.4:5",
    ],
)
def test_addresses_that_grpc_takes(address: str) -> None:
    assert checked_address(address, "ranking") == address


def test_tls_by_argument_and_by_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert channel_tls() is None
    assert channel_tls(True) == ChannelTls()
    monkeypatch.setenv("TWOTOWER_TLS_CA", "ca.pem")
    assert channel_tls() == ChannelTls(Path("ca.pem"))
    assert channel_tls(False) is None
    monkeypatch.setenv("TWOTOWER_TLS_CA", "")
    monkeypatch.setenv("TWOTOWER_TLS", "yes")
    assert channel_tls() == ChannelTls()
    monkeypatch.setenv("TWOTOWER_TLS", "perhaps")
    with pytest.raises(InvalidArgument, match="TWOTOWER_TLS: must be true or false"):
        channel_tls()
