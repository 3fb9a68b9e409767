"""Page tokens: what goes in comes out, and nothing else comes in."""

import base64

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranking_service.api import page_tokens
from ranking_service.api.page_tokens import PageTokens
from ranking_service.ranking.jobs import Page
from ranking_service.release.popularity_snapshot import PopularitySnapshot
from ranking_service.upstream.user_batch import UserContext
from twotower.errors import InvalidArgument
from twotower.features import MAX_REVIEWS_PER_USER, USER_DIM
from twotower.v1 import ranking_service_pb2 as pb
from twotower.v1 import types_pb2

CONTEXT = UserContext(types_pb2.USER_KIND_WARM, types_pb2.ALS_ORIGIN_FOLDED_IN, 2**32 - 1, 2**52, -1, degraded=True)
TOKENS = PageTokens(bytes(range(32)))
REQUEST = pb.RecommendRequest(user_id="ann", k=5, max_per_brand=2)


def page(seen: list[int], shown: list[int], version: int = 7) -> Page:
    row = np.arange(USER_DIM, dtype=np.float32)
    return Page(row, seen, shown, CONTEXT, PopularitySnapshot(version=version))


rows = st.lists(st.integers(0, 2**31 - 1), max_size=20)


@given(seen=rows, shown=rows, release_id=st.text(min_size=1, max_size=40), version=st.integers(0, 2**62))
def test_a_token_comes_back(seen: list[int], shown: list[int], release_id: str, version: int) -> None:
    token = TOKENS.encode(release_id, REQUEST, page(seen, shown, version))
    found = TOKENS.decode(token, pb.RecommendRequest(user_id="ann", k=50, max_per_brand=2, page_token=token))
    assert (found.release_id, found.seen, found.shown, found.popularity_version) == (release_id, seen, shown, version)
    np.testing.assert_array_equal(found.row, np.arange(USER_DIM))
    assert found.context == CONTEXT


@pytest.mark.parametrize(
    "other",
    [
        pb.RecommendRequest(user_id="bob", k=5, max_per_brand=2),
        pb.RecommendRequest(user_id="ann", k=5),
        pb.RecommendRequest(user_id="ann", k=5, max_per_brand=2, filter=pb.ProductFilter(brands=["x"])),
        pb.RecommendRequest(user_id="ann", k=5, max_per_brand=2, include_seen=True),
    ],
)
def test_a_token_of_another_request_is_refused(other: pb.RecommendRequest) -> None:
    with pytest.raises(InvalidArgument, match="another request"):
        TOKENS.decode(TOKENS.encode("r", REQUEST, page([1], [2])), other)


@given(place=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_a_changed_token_is_refused(place: int, flip: int) -> None:
    data = bytearray(base64.urlsafe_b64decode(TOKENS.encode("r", REQUEST, page([1], [2]))))
    data[place % len(data)] ^= flip
    with pytest.raises(InvalidArgument, match="page_token"):
        TOKENS.decode(base64.urlsafe_b64encode(data).decode(), REQUEST)


def test_a_token_of_another_key_is_refused_and_says_what_to_do() -> None:
    token = PageTokens(bytes(32)).encode("r", REQUEST, page([1], [2]))
    with pytest.raises(InvalidArgument, match=r"page_token.*begin at the first page"):
        TOKENS.decode(token, REQUEST)


def test_nobody_reads_the_user_from_a_token() -> None:
    shown, seen = [77, 78, 79], [55, 56]
    first, second = (TOKENS.encode("release", REQUEST, page(seen, shown)) for _ in range(2))
    assert first != second
    for token in (first, second):
        data = base64.urlsafe_b64decode(token)
        row = np.arange(USER_DIM, dtype="<f4").tobytes()
        pieces = [row[start : start + 12] for start in range(0, len(row), 12)]
        pieces += [np.array(rows, "<i4").tobytes() for rows in (seen, shown)] + [b"release"]
        assert not any(piece in data for piece in pieces)


def test_what_nothing_depends_on_is_no_part_of_a_token() -> None:
    request = pb.RecommendRequest(user_id="ann", k=5, include_seen=True)
    assert TOKENS.decode(TOKENS.encode("r", request, page([1, 2], [3])), request).seen == []
    request.explain = True
    assert TOKENS.decode(TOKENS.encode("r", request, page([1, 2], [3])), request).seen == [1, 2]


def test_the_longest_token_is_accepted_and_longer_ones_are_not_even_decoded() -> None:
    longest = page(list(range(MAX_REVIEWS_PER_USER)), list(range(page_tokens.MAX_SHOWN)))
    token = TOKENS.encode("r" * 128, REQUEST, longest)
    assert len(TOKENS.decode(token, REQUEST).shown) == page_tokens.MAX_SHOWN
    with pytest.raises(InvalidArgument, match="page_token"):
        TOKENS.decode("A" * 4 * 2**20, REQUEST)


@given(token=st.text(max_size=80))
def test_nonsense_is_refused(token: str) -> None:
    with pytest.raises(InvalidArgument, match="page_token"):
        TOKENS.decode(token, REQUEST)


@pytest.mark.parametrize("wrong", [page([9], []), page([], [-1])])
def test_rows_outside_the_catalogue_are_refused(wrong: Page) -> None:
    token = TOKENS.decode(TOKENS.encode("r", REQUEST, wrong), REQUEST)
    with pytest.raises(InvalidArgument, match="page_token"):
        page_tokens.check_rows(token, 9)


def test_a_token_of_the_catalogue_comes_back() -> None:
    assert page_tokens.decode_start(page_tokens.encode_start("a:b-c", 7), "a:b-c") == 7
    assert page_tokens.decode_start("", "r") == 0


@pytest.mark.parametrize(
    "token", ["no token!", page_tokens.encode_start("r", -5), page_tokens.encode_start("other", 5)]
)
def test_another_token_of_the_catalogue_is_refused_by_name(token: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        page_tokens.decode_start(token, "r")
    assert [violation.field for violation in refused.value.violations] == ["page_token"]
    assert all(violation.description for violation in refused.value.violations)
