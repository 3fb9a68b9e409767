"""The cleaning rules, one by one."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.reviews import ROW, read, write_csv
from trainer.data.cleaning import CleaningOptions
from trainer.data.reviews import read_reviews
from twotower.errors import InvalidFile
from twotower.release_users import UNDATED
from twotower.suppressions import Suppressions, suppress


def microseconds(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp() * 1_000_000)  # type: ignore[misc,arg-type]


@pytest.mark.parametrize(
    ("column", "attribute", "fill"),
    [
        ("reviews.title", "titles", "No Title"),
        ("reviews.text", "texts", "No Review"),
        ("reviews.username", "user_ids", "Akshat"),
    ],
)
@pytest.mark.parametrize("blank", ["", "   ", "\n"])
def test_blanks_are_filled(tmp_path: Path, column: str, attribute: str, fill: str, blank: str) -> None:
    assert getattr(read(tmp_path / "r.csv", [{column: blank}]), attribute) == [fill]


def test_words_that_look_missing_are_not(tmp_path: Path) -> None:
    rows = [{"reviews.username": name, "reviews.title": name} for name in ("NA", "None", "null", "nan")]
    reviews = read(tmp_path / "r.csv", rows)
    assert sorted(reviews.user_ids) == sorted(reviews.titles) == ["NA", "None", "nan", "null"]


def test_the_placeholder_name_can_be_chosen(tmp_path: Path) -> None:
    assert read(tmp_path / "r.csv", [{"reviews.username": ""}], default_username="nobody").user_ids == ["nobody"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2012-11-30T06:21:45.000Z", microseconds(2012, 11, 30, 6, 21, 45)),
        ("2012-11-30T06:21:45Z", microseconds(2012, 11, 30, 6, 21, 45)),
        ("2012-11-30T06:21:45", microseconds(2012, 11, 30, 6, 21, 45)),
        ("2012-11-30T06:21:45.25", microseconds(2012, 11, 30, 6, 21, 45, 250_000)),
        ("2012-11-30T06:21:45.123456Z", microseconds(2012, 11, 30, 6, 21, 45, 123_456)),
        ("2012-11-30T06:21:45+02:00", microseconds(2012, 11, 30, 4, 21, 45)),
        ("2012-11-30", microseconds(2012, 11, 30)),
        (" 2012-11-30 ", microseconds(2012, 11, 30)),
        ("", UNDATED),
        (' hooks slide or swivel into any desired position."', UNDATED),
        ("2012-13-30", UNDATED),
        ("yesterday", UNDATED),
    ],
)
def test_dates_are_utc_and_unreadable_ones_are_undated(tmp_path: Path, text: str, expected: int) -> None:
    assert read(tmp_path / "r.csv", [{"reviews.date": text}]).time_us.tolist() == [expected]


def test_all_forms_of_dates_mix(tmp_path: Path) -> None:
    days = ["2012-01-04", "2012-01-02T00:00:00Z", "", "2012-01-03T00:00:00.000Z", "2012-01-01T00:00:00"]
    reviews = read(tmp_path / "r.csv", [{"reviews.date": day, "reviews.title": day or "undated"} for day in days])
    assert [title[:10] for title in reviews.titles] == [
        "2012-01-01",
        "2012-01-02",
        "2012-01-03",
        "2012-01-04",
        "undated",
    ]
    assert reviews.dated.tolist() == [True] * 4 + [False]


BAD_ROWS: list[Mapping[str, str]] = [
    {"reviews.rating": "7"},
    {"reviews.rating": "-0.5"},
    {"reviews.rating": ""},
    {"reviews.rating": "five"},
    {"reviews.rating": "nan"},
    {"reviews.rating": "inf"},
    {"id": ""},
    {"id": "x" * 257},
    {"reviews.username": "é" * 129},
]


@pytest.mark.parametrize("bad", BAD_ROWS)
def test_unusable_rows_are_dropped_and_told_of(tmp_path: Path, bad: Mapping[str, str]) -> None:
    (field, value), *_ = bad.items()
    path = write_csv(tmp_path / "r.csv", [ROW] * 149 + [bad])
    reviews, report = read_reviews(path, CleaningOptions())
    assert (len(reviews), report.rows_read, report.rows_kept) == (149, 150, 149)
    (problem,) = report.problems
    assert (problem.field, problem.action, problem.row_count) == (field, "dropped", 1)
    assert problem.examples == ((151, value),)


@pytest.mark.parametrize("bad", BAD_ROWS)
def test_a_file_with_too_many_unusable_rows_is_refused(tmp_path: Path, bad: Mapping[str, str]) -> None:
    (field, _), *_ = bad.items()
    path = write_csv(tmp_path / "r.csv", [ROW] * 5 + [bad])
    with pytest.raises(InvalidFile) as caught:
        read_reviews(path, CleaningOptions())
    fields = {violation.field: violation.description for violation in caught.value.violations}
    assert "row 7" in fields[field]
    assert fields["dropped rows"] == "must be at most 1.0% of the rows, got 1 of 6"
    assert len(read_reviews(path, CleaningOptions(max_dropped=0.2))[0]) == 5


@pytest.mark.parametrize("rating", ["0", "5", "4.5", " 3 "])
def test_ratings_on_the_scale_are_kept(tmp_path: Path, rating: str) -> None:
    assert read(tmp_path / "r.csv", [{"reviews.rating": rating}]).rating.tolist() == [float(rating)]


@pytest.mark.parametrize(
    "column", ["reviews.title", "reviews.text", "reviews.username", "reviews.date", "manufacturer", "reviews.rating"]
)
def test_strict_refuses_any_problem(tmp_path: Path, column: str) -> None:
    path = write_csv(tmp_path / "r.csv", [ROW] * 999 + [{column: ""}])
    with pytest.raises(InvalidFile, match=rf"{column}: .*\(row 1001: ''"):
        read_reviews(path, CleaningOptions(strict=True))


def test_a_file_of_unusable_rows_is_refused_whatever_is_allowed(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "r.csv", [{"reviews.rating": "x"}])
    with pytest.raises(InvalidFile, match="got 1 of 1"):
        read_reviews(path, CleaningOptions(max_dropped=1.0))


def test_anonymous_names_are_told_without_case(tmp_path: Path) -> None:
    names = ["Anonymous", "anonymous", "byamazon customer", "An Anonymous Customer", "Anonymous Bob"]
    reviews = read(tmp_path / "r.csv", [{"reviews.username": name} for name in names])
    told = dict(zip(reviews.user_ids, reviews.anonymous.tolist(), strict=True))
    assert told == dict(zip(names, [True, True, True, True, False], strict=True))


def test_what_deleted_users_wrote_before_is_left_out_and_counted(tmp_path: Path) -> None:
    deleted = tmp_path / "deleted"
    for name in ("ann", "bob", "Anonymous", "nobody"):
        suppress(deleted, name, microseconds(2018, 1, 1))
    rows = [
        {"reviews.username": name, "reviews.date": f"{date}T00:00:00Z" if date else ""}
        for name, date in (
            ("ann", "2017-01-01"), ("ann", "2018-01-01"), ("ann", "2018-01-02"), ("bob", ""), ("Bob", "2017-01-01"),
            ("anonymous", "2017-01-01"), ("cid", "2017-01-01"),
        )
    ]  # fmt: skip
    path = write_csv(tmp_path / "r.csv", rows)
    reviews, report = read_reviews(path, CleaningOptions(max_dropped=0, suppressions=Suppressions.read([deleted])))
    assert sorted(reviews.user_ids[user] for user in reviews.user) == ["Bob", "ann", "anonymous", "cid"]
    assert (report.rows_read, report.rows_kept) == (4, 4)
    assert "3 rows of users who were deleted since are left out (--suppressions)" in report.notes
    assert len(read_reviews(path, CleaningOptions())[0]) == 7
