"""Columns of text, and the order of rows, against plain Python."""

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.reviews import ROW, write_csv
from trainer.data.cleaning import CleaningOptions
from trainer.data.columns import Builder, Strings
from trainer.data.reviews import read_reviews

TEXTS = st.lists(st.text(max_size=6), max_size=30)


@settings(deadline=None)
@given(values=TEXTS, data=st.data())
def test_strings_are_the_list_they_were_made_of(values: list[str], data: st.DataObject) -> None:
    strings = Strings.of(values)
    whole = [value.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for value in values]
    assert list(strings) == strings[:] == whole
    numbered = strings.numbered()
    assert list(numbered) == whole
    assert numbered.distinct[:] == list(dict.fromkeys(whole))
    if values:
        rows = np.array(data.draw(st.lists(st.integers(0, len(values) - 1), max_size=9)), np.int64)
        picked = [whole[row] for row in rows]
        assert strings.take(rows) == numbered.take(rows) == numbered.strings(rows) == picked


@settings(deadline=None)
@given(parts=st.lists(TEXTS, max_size=4))
def test_a_builder_joins_rows_and_columns(parts: list[list[str]]) -> None:
    builder = Builder(["a", "b"])
    for number, part in enumerate(parts):
        if number % 2:
            builder.extend([Strings.of(part), Strings.of(["same"] * len(part))])
        else:
            for value in part:
                builder.append([value, "same"])
    columns = builder.finish()
    assert columns["a"] == [value for part in parts for value in part]
    assert columns["b"].distinct[:] == ["same"] * any(map(len, parts))


def test_a_fill_makes_equal_strings_one() -> None:
    column = Strings.of(["x", "", " ", "y"]).numbered()
    filled = column.filled(column.distinct.test(lambda value: not value.strip()), "x")
    assert filled == ["x", "x", "x", "y"]
    assert filled.distinct == ["x", "y"]


def plain_order(rows: list[dict[str, str]]) -> list[tuple[str, str, str]]:
    """(date, review id, user) of every row in order, by sorting tuples."""

    def hashed(*values: str) -> str:
        return hashlib.sha256("\x1f".join(values).encode()).hexdigest()[:32]

    full = [{**ROW, "reviews.id": "", **row} for row in rows]
    names = ("id", "reviews.username", "reviews.date", "reviews.rating", "reviews.title", "reviews.text")
    found, taken = [], Counter[tuple[str, str]]()
    for row, content in sorted(
        ((row, hashed(*(row[name] for name in names))) for row in full), key=lambda at: (at[0]["reviews.date"], at[1])
    ):
        own = row["reviews.id"] if row["reviews.id"].strip() else content
        repeat = taken[row["reviews.username"], own]
        taken[row["reviews.username"], own] += 1
        found.append((row["reviews.date"], hashed(own, str(repeat)) if repeat else own, row["reviews.username"]))
    return sorted(found)


@pytest.mark.parametrize("ids", [[""], ["", "r1", "r2", "é", "0" * 32]])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_rows_are_in_the_order_of_time_id_and_user(tmp_path: Path, ids: list[str], data: st.DataObject) -> None:
    row = st.fixed_dictionaries(
        {
            "reviews.username": st.sampled_from(["ann", "bob", "Ünal"]),
            "reviews.date": st.sampled_from(["2017-01-01T00:00:00Z", "2017-01-02T00:00:00Z"]),
            "reviews.id": st.sampled_from(ids),
            "reviews.text": st.sampled_from(["a", "b"]),
        }
    )
    rows = data.draw(st.lists(row, min_size=1, max_size=25))
    columns = [*ROW, "reviews.id"]
    reviews, _ = read_reviews(write_csv(tmp_path / "r.csv", rows, columns), CleaningOptions())
    dates = [np.datetime_as_string(np.datetime64(time, "us"), "s") + "Z" for time in reviews.time_us.tolist()]
    users = [reviews.user_ids[user] for user in reviews.user]
    assert list(zip(dates, reviews.review_ids, users, strict=True)) == plain_order(rows)
