"""Variables are read the same way everywhere, and misspelt ones are told."""

import pytest

from twotower.environment import VARIABLES, misspelt, read, read_flag
from twotower.errors import InvalidArgument


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("TWOTOWER_RANKNG", "TWOTOWER_RANKING"),
        ("TWOTOWER_EMBEDING", "TWOTOWER_EMBEDDING"),
        ("TWOTOWER_RANKING_", None),
        ("TWOTOWER_EMBEDDINGS", "TWOTOWER_EMBEDDING"),
        ("TWOTOWER_TLSCA", "TWOTOWER_TLS_CA"),
        ("TWOTOWER_TLS_CERTIFICAT", "TWOTOWER_TLS_CERTIFICATE"),
        ("twotower_ranking", "TWOTOWER_RANKING"),
    ],
)
def test_a_misspelt_variable_has_its_nearest_name(name: str, nearest: str | None) -> None:
    expected = [f"the variable {name} is not one of Twotower's: did you mean {nearest}?"] if nearest else []
    assert misspelt([name, *VARIABLES]) == expected


def test_one_that_is_like_none_has_the_list() -> None:
    (sentence,) = misspelt(["TWOTOWER_COLOUR"])
    for name in VARIABLES:
        assert name in sentence


@pytest.mark.parametrize(
    "name",
    [
        "HOME",
        "TWOTOWER_EMBEDDING_STORE",  # of a service, which checks it itself
        "TWOTOWER_RANKING_LISTEN",
        "TWOTOWER_DATA",
        "TWOTOWER_SERVICE_HOST",  # what Kubernetes sets for a service of this name
        "TWOTOWER_SERVICE_PORT_GRPC",
        "TWOTOWER_PORT_50052_TCP_ADDR",
    ],
)
def test_what_is_somebody_elses_is_not_told(name: str) -> None:
    assert misspelt([name]) == []


def test_the_known_names_can_be_another_packages() -> None:
    known = ["TWOTOWER_EMBEDDING_STORE", "TWOTOWER_EMBEDDING_DATA_DIR"]
    (sentence,) = misspelt(["TWOTOWER_EMBEDDING_STOER", "TWOTOWER_RANKING_X"], known, others=("TWOTOWER_RANKING_",))
    assert sentence.endswith("did you mean TWOTOWER_EMBEDDING_STORE?")


def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWOTOWER_RANKING", "")
    monkeypatch.setenv("TWOTOWER_TLS", "")
    assert read("TWOTOWER_RANKING") is None
    assert read_flag("TWOTOWER_TLS") is False


@pytest.mark.parametrize(("value", "says"), [("true", True), ("Yes", True), ("1", True), ("0", False), ("off", False)])
def test_flags(monkeypatch: pytest.MonkeyPatch, value: str, says: bool) -> None:
    monkeypatch.setenv("TWOTOWER_TLS", value)
    assert read_flag("TWOTOWER_TLS") is says


def test_a_flag_that_is_neither_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWOTOWER_TLS", "perhaps")
    with pytest.raises(InvalidArgument, match="TWOTOWER_TLS: must be true or false, got 'perhaps'"):
        read_flag("TWOTOWER_TLS")
