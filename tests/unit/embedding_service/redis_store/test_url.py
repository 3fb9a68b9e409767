"""The forms of `--store`: any password goes through and is never shown, and what is wrong is said in one sentence."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from redis.asyncio import ConnectionPool

from embedding_service.bootstrap import describe
from embedding_service.redis_store.configuration import eviction, replica_warnings
from embedding_service.redis_store.url import check_tls, parse_store_url, socket_url, with_password
from embedding_service.settings import EmbeddingSettings

# Long enough that no part of the address or of a sentence is one by chance; no NUL, which Redis' users can't type.
SECRETS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
FORMS = ["redis://{}@h:1/2", "rediss://{}@h", "unix://{}@/run/x.sock", "redis+cluster://{}@h:1"]
SENTINEL = "redis+sentinel://{}@a,b:2/main/3?sentinel_username={}&sentinel_password={}"


def settings_of(url: str) -> EmbeddingSettings:
    """Settings with a store."""
    options: dict[str, Any] = {"store": url}
    return EmbeddingSettings(**options)


@given(user=SECRETS, password=SECRETS, form=st.sampled_from(FORMS))
def test_any_password_reaches_redis_py_and_is_shown_nowhere(user: str, password: str, form: str) -> None:
    url = form.format(f"{quote(user, '')}:{quote(password, '')}")
    store = parse_store_url(url)
    assert (store.username, store.password) == (user, password)
    if not url.startswith("redis+cluster"):
        options = ConnectionPool.from_url(store.for_redis_py()).connection_kwargs
        assert (options["username"], options["password"]) == (user, password)
    assert str(store) == repr(store) == str(parse_store_url(form.format("u:p")))
    settings = settings_of(url)
    assert describe(settings) == f"Redis at {store}"
    assert "store" not in repr(settings).replace("restore", "")


@given(password=SECRETS, user=SECRETS)
def test_sentinels_have_an_account_of_their_own(user: str, password: str) -> None:
    encoded = quote(user, ""), quote(password, "")
    store = parse_store_url(SENTINEL.format(":".join(encoded), *encoded))
    assert (store.username, store.password) == (user, password)
    assert store.options == {"sentinel_username": user, "sentinel_password": password}
    assert (store.addresses, store.name, store.database) == ((("a", 26379), ("b", 2)), "main", 3)
    assert str(store) == "redis+sentinel://a:26379,b:2/main/3"


@given(password=st.text(st.sampled_from("secret/?#@[]:%&= ,é"), min_size=1), form=st.sampled_from([*FORMS, SENTINEL]))
def test_a_password_as_it_is_works_or_is_refused_without_a_word_of_it(password: str, form: str) -> None:
    secret = f"5ecr3t{password}5ecr3t"
    try:
        settings = settings_of(form.format(f"u:{secret}", "s", "t"))
    except ValidationError as error:
        sentences = " ".join(problem["msg"] for problem in error.errors())
        assert "percent-encoded" in sentences
        assert "5ecr3t" not in sentences
    else:
        assert "5ecr3t" not in describe(settings)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("redis", "must be 'embedded'"),
        ("http://h", "must be 'embedded'"),
        ("redis://", "host or host:port"),
        ("redis://h:99999", "port from 1 to 65535"),
        ("redis://user:5ecr3t:6379", "host or host:port"),
        ("redis://h/zero", "whole number"),
        ("redis://h?bd=1", "after the question mark"),
        ("redis://a,b", "redis+sentinel://"),
        ("redis+cluster://h/1", "no other database"),
        ("redis+sentinel://a,b", "name of the primary"),
        ("unix://run/x", "absolute path"),
    ],
)
def test_what_is_wrong_is_one_sentence(url: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]*$") as raised:
        parse_store_url(url)
    assert sentence in str(raised.value)
    assert "5ecr3t" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://h", "redis://h:6379/0"),
        ("redis://[::1]:7/2", "redis://[::1]:7/2"),
        ("redis://h?db=4", "redis://h:6379/4"),
        ("unix:///run/x%23y.sock?db=1", "unix:///run/x#y.sock"),
        ("redis+sentinel://a:1,b/main?db=2", "redis+sentinel://a:1,b:26379/main/2"),
        ("rediss+cluster://h", "rediss+cluster://h:6379"),
    ],
)
def test_an_address_is_shown_whole(url: str, shown: str) -> None:
    assert str(parse_store_url(url)) == shown


@given(path=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30))
def test_a_socket_may_have_any_path(path: str) -> None:
    url = socket_url(Path("/run") / path.lstrip("/"))
    assert parse_store_url(url).path == ConnectionPool.from_url(url).connection_kwargs["path"]
    assert parse_store_url(url).path == str(Path("/run") / path.lstrip("/"))


@pytest.mark.parametrize(
    "store", ["embedded", "redis://h", "redis+cluster://h", "redis+sentinel://h/main", "unix:///x"]
)
def test_tls_files_without_tls_are_refused(store: str, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    with pytest.raises(ValueError, match="TLS files are given, but the store is"):
        check_tls(store, [tmp_path / "ca.pem"])
    check_tls(store, [None])
    check_tls("rediss://h", [tmp_path / "ca.pem"])
    with pytest.raises(ValueError, match="no such file"):
        check_tls("rediss://h", [tmp_path / "nowhere.pem"])


def test_what_redis_would_lose_is_said_with_what_to_set() -> None:
    sound = {"maxmemory_policy": "noeviction", "connected_slaves": "0"}
    assert replica_warnings([sound], 0) == []
    assert eviction([sound]) == ""
    evicts = eviction([sound, {**sound, "maxmemory_policy": "allkeys-lru"}])
    assert "allkeys-lru" in evicts
    assert "noeviction" in evicts
    [replicas] = replica_warnings([{**sound, "connected_slaves": "2"}], 0)
    assert "--redis-wait-replicas 2" in replicas
    assert replica_warnings([{**sound, "connected_slaves": "2"}], 1) == []


@given(user=SECRETS, password=SECRETS, form=st.sampled_from(FORMS))
def test_a_password_of_a_file_is_as_good_as_one_in_the_url(user: str, password: str, form: str) -> None:
    whole = parse_store_url(form.format(f"{quote(user, '')}:{quote(password, '')}"))
    assert parse_store_url(with_password(form.format(quote(user, "")), password)) == whole


def test_the_password_file_is_read_and_refused_where_it_has_no_place(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("p@ss/word\n")
    url: dict[str, Any] = {"store": "redis://u@h:1/0", "redis_password_file": file}
    settings = EmbeddingSettings(**url)
    assert parse_store_url(settings.store_url).password == "p@ss/word"
    assert "p@ss" not in repr(settings) + describe(settings)
    for store in ("embedded", "redis://u:p@h:1/0"):
        with pytest.raises(ValidationError, match="redis_password_file: is for a Redis of your own"):
            EmbeddingSettings(**{**url, "store": store})
    with pytest.raises(ValidationError, match="no such file"):
        EmbeddingSettings(**{**url, "redis_password_file": tmp_path / "none"})
