"""What a client is made of: its arguments, and the variables that stand in for them."""

import pytest

from clients import TwotowerClient
from clients.errors import InvalidArgument
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
