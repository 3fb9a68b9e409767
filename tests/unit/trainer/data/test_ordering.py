"""Review ids and the order of rows, against plain Python."""

import hashlib
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.reviews import ROW, read, write_csv
from trainer.data.cleaning import CleaningOptions
from trainer.data.reviews import read_reviews


def test_given_review_ids_are_kept_and_repeats_made_unique(tmp_path: Path) -> None:
    rows = [
        {"reviews.id": "r1", "reviews.date": "2017-01-01"},
        {"reviews.id": "r1", "reviews.date": "2017-01-02", "reviews.title": "Other"},
        {"reviews.id": "r1", "reviews.date": "2017-01-03", "reviews.username": "bob"},
    ]
    ids = read(tmp_path / "r.csv", rows).review_ids
    assert ids[0] == ids[2] == "r1"
    assert ids[1] != "r1"


def test_review_ids_do_not_change_when_rows_are_appended_or_shuffled(tmp_path: Path) -> None:
    rows = [{"reviews.title": f"title {n % 7}", "reviews.username": f"u{n % 5}"} for n in range(60)]
    before = read(tmp_path / "a.csv", rows)
    extra = [
        {"reviews.title": f"title {n % 7}", "reviews.username": f"u{n % 5}", "reviews.date": "2018-01-01"}
        for n in range(20)
    ]
    shuffled = [*rows, *extra]
    random.Random(1).shuffle(shuffled)
    after = read(tmp_path / "b.csv", shuffled)
    assert after.review_ids[:60] == before.review_ids
    assert len(set(after.review_ids)) == 80
    assert after.user[:60].tolist() == before.user.tolist()


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
