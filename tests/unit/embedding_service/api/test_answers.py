"""Answers of a bounded size."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedding_service.api.answers import seen_in_answer
from twotower.errors import InvalidArgument

CATALOGUE = {f"known {i:03}": i for i in range(100)}


def features(lists: Sequence[list[str]], user_ids: Sequence[str] | None = None) -> Any:
    """Features with no more in them than is looked at."""
    return SimpleNamespace(
        seen_product_ids=lists,
        counts=np.array([len(ids) for ids in lists]),
        user_ids=user_ids or [f"u{i}" for i in range(len(lists))],
        release=SimpleNamespace(catalogue_rows=CATALOGUE),
    )


def size(lists: Sequence[Sequence[str]]) -> int:
    """Bytes of ids in a message."""
    return sum(len(name.encode()) + 3 for ids in lists for name in ids)


@given(
    lists=st.lists(
        st.lists(st.sampled_from([*CATALOGUE, *(f"é other {i}" for i in range(200))]), unique=True).map(sorted),
        min_size=1,
        max_size=8,
    ),
    most=st.integers(100, 4000),
)
def test_only_lists_that_are_too_long_are_cut_and_the_answer_fits(lists: list[list[str]], most: int) -> None:
    answered = seen_in_answer(features(lists), most)
    assert size(answered) <= max(most, 0)
    for before, after in zip(lists, answered, strict=True):
        assert list(after) == sorted(set(after))
        assert set(after) <= set(before)
        if size([before]) <= most // len(lists):
            assert after == before
        known = [name for name in before if name in CATALOGUE]
        assert len(after) == len(before) or {name for name in after if name in CATALOGUE} >= set(known[: len(after)])
    if size(lists) <= most:
        assert answered == lists


def test_repeats_that_would_be_too_much_are_refused() -> None:
    fat = [f"product {i}" for i in range(1000)]
    with pytest.raises(InvalidArgument, match="user_ids: must name each user once"):
        seen_in_answer(features([fat, fat], ["u", "u"]), 16_000)
    assert seen_in_answer(features([fat, fat], ["u", "u"]), 40_000) == [fat, fat]
