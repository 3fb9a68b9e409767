"""What a client is made of: its arguments, and the variables that stand in for them."""

from pathlib import Path
from typing import Any

import pytest

from clients import ChannelTls, TwotowerClient
from clients.connection import Channels, Connection
from clients.errors import InvalidArgument
from twotower import file_watch
from twotower.environment import MisspeltVariable


@pytest.mark.parametrize(
    "address",
    [
        "",
        "localhost",
        "localhost:",
        "localhost:99999",
        "localhost:0",
        "host:x",
        "::1:50052",
        "http://host:1",
        "a b:1",
        17,
    ],
)
def test_others_are_refused_by_name(address: object) -> None:
    with pytest.raises(InvalidArgument, match="ranking: must be host:port") as caught:
        TwotowerClient(ranking=address)  # type: ignore[arg-type]
    assert repr(address) in str(caught.value)


def test_a_bad_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWOTOWER_EMBEDDING", "localhost")
    with pytest.raises(InvalidArgument, match="TWOTOWER_EMBEDDING: must be host:port"):
        TwotowerClient()
    TwotowerClient(embedding="localhost:1").close()


@pytest.mark.parametrize(
    ("arguments", "name"),
    [({"tls": "ca.pem"}, "tls"), ({"deadlines": 5}, "deadlines"), ({"http_proxy": "yes"}, "http_proxy")],
)
def test_arguments_of_another_type_are_refused_by_name(arguments: dict[str, object], name: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        TwotowerClient(**arguments)  # type: ignore[arg-type]
    assert [violation.field for violation in caught.value.violations] == [name]


def test_a_misspelt_variable_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWOTOWER_RANKNG", "ranking:1")
    with pytest.warns(MisspeltVariable, match="did you mean TWOTOWER_RANKING") as caught:
        TwotowerClient().close()
    assert caught[0].filename == __file__


class FakeChannel:
    closed = False

    def unary_unary(self, *_: object) -> None:
        return None


class FakeClient(Connection[Any]):
    @staticmethod
    def _open(target: str, tls: ChannelTls | None, options: Any) -> Any:
        return FakeChannel()

    def _close(self, channels: Channels) -> None:
        for channel in channels.opened.values():
            channel.closed = True


def closed(channels: Channels) -> set[bool]:
    return {channel.closed for channel in channels.opened.values()}


def test_channels_whose_certificates_were_renewed_are_closed_after_their_last_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_watch, "LOOK_EVERY_S", 0.0)
    certificate = tmp_path / "ca.pem"
    certificate.write_text("1")
    client = FakeClient(tls=ChannelTls(certificate))
    first, again = client._borrow(), client._borrow()
    assert first is again
    certificate.write_text("renewed")
    second = client._borrow()
    assert second is not first
    client._give_back(first)
    assert closed(first) == {False}
    client._give_back(again)
    assert closed(first) == {True}
    client._give_back(second)
    assert closed(second) == {False}, "they are for the calls to come"
    certificate.write_text("renewed once more")
    client._give_back(client._borrow())
    assert closed(second) == {True}, "no call was on them"
