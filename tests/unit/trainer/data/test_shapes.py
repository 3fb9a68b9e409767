"""Shapes of files that people bring, made here: text, packing, columns, dates, ratings, names and products."""

import gzip
import json
import lzma
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.reviews import write_csv
from trainer.data.cleaning import CleaningOptions, CleaningReport, is_shared_placeholder
from trainer.data.columns import Strings
from trainer.data.dates import read_dates
from trainer.data.raw import SourceOptions
from trainer.data.reviews import Reviews, check_order, read_reviews
from trainer.data.values import text_of, without_markup
from twotower.errors import InvalidArgument, InvalidFile
from twotower.features import joined_categories, split_categories
from twotower.release_users import UNDATED

ROWS = "user_id,item_id,rating,timestamp\nann,P1,5,1483432200\nbob,P2,4,1483432300\n"


def read(
    path: Path | list[Path], cleaning: dict[str, Any] | None = None, **source: Any
) -> tuple[Reviews, CleaningReport]:
    return read_reviews(path, CleaningOptions(**cleaning or {}), SourceOptions(**source))


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def zipped(data: bytes, path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("folder/", "")
        archive.writestr("folder/reviews.csv", data)
        archive.writestr("__MACOSX/._reviews.csv", "x")


def zstd(data: bytes, path: Path) -> None:
    import pyarrow as pa

    with pa.CompressedOutputStream(str(path), "zstd") as stream:
        stream.write(data)


PACKINGS: dict[str, Callable[[bytes, Path], object]] = {
    "plain": lambda data, path: path.write_bytes(data),
    "gzip": lambda data, path: path.write_bytes(gzip.compress(data)),
    "xz": lambda data, path: path.write_bytes(lzma.compress(data)),
    "zip": zipped,
    "zstd": zstd,
}


@pytest.mark.parametrize("packing", PACKINGS)
def test_packed_files_are_the_plain_one(tmp_path: Path, packing: str) -> None:
    path = tmp_path / "données de l'été.csv"
    PACKINGS[packing](ROWS.encode(), path)
    plain = write(tmp_path / "plain.csv", ROWS)
    reviews, expected = read(path)[0], read(plain)[0]
    assert (list(reviews.review_ids), reviews.sha256) == (list(expected.review_ids), expected.sha256)


@pytest.mark.parametrize("packing", ["gzip", "xz", "zip", "zstd"])
def test_a_cut_archive_is_refused_by_its_kind(tmp_path: Path, packing: str) -> None:
    path = tmp_path / "r.csv"
    PACKINGS[packing]((ROWS * 2000).encode(), path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InvalidFile, match=f"must be whole {packing}"):
        read(path)


def test_a_zip_of_several_files_is_refused_by_their_names(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "r.zip", "w") as archive:
        archive.writestr("a.csv", ROWS)
        archive.writestr("b.csv", ROWS)
    with pytest.raises(InvalidFile, match=r"has 2 \(a\.csv, b\.csv\): unpack it"):
        read(tmp_path / "r.zip")


def test_several_files_and_a_folder_are_one_file(tmp_path: Path) -> None:
    header, first, second = ROWS.splitlines(keepends=True)
    folder = tmp_path / "folder"
    folder.mkdir()
    parts = [write(folder / "b.csv", header + first), write(folder / "a.csv", header + second)]
    whole = read(write(tmp_path / "whole.csv", ROWS))[0]
    for paths in (folder, parts, parts[::-1]):
        reviews = read(paths)[0]
        assert list(reviews.review_ids) == list(whole.review_ids)
        assert list(reviews.user_ids) == ["ann", "bob"]
        assert reviews.sha256 == read(parts)[0].sha256 != whole.sha256
    broken = write(folder / "c.csv", header + "cid,P3,9,1483432400\n")
    with pytest.raises(InvalidFile, match=r"row 2 of c\.csv: '9'"):
        read([folder])
    broken.unlink()
    with pytest.raises(InvalidFile, match="No such file"):
        read([folder, tmp_path / "mistyped.csv"])


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_delimiters_newlines_and_encodings_are_told(
    tmp_path: Path, encoding: str, delimiter: str, newline: str
) -> None:
    text = 'product_id,user,stars,review\n"P1","ann","5","café, good; best"\n"P2","bob","4","tea"\n,,,\n'
    text = text.replace(",", "\0").replace("café\0", "café,").replace("\0", delimiter).replace("\n", newline)
    reviews, report = read(write(tmp_path / "r.txt", text, encoding))
    assert sorted(reviews.texts) == ["café, good; best", "tea"]
    assert any("Windows-1252" in note for note in report.notes) == (encoding == "cp1252")
    assert any("1 empty rows" in note for note in report.notes)


def test_a_file_without_a_header_needs_a_word(tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", "P1,ann,5.0,1483432200\nP1,bob,4.0,1483432300\n")
    with pytest.raises(InvalidFile) as caught:
        read(path)
    options = "--no-header --column id=1 --column reviews.username=2 --column reviews.rating=3 --column reviews.date=4"
    assert options in str(caught.value)
    chosen = {"id": "1", "reviews.username": "2", "reviews.rating": "3", "reviews.date": "4"}
    assert len(read(path, no_header=True, columns=chosen)[0]) == 2
    assert read(path, header=["item", "user", "rating", "date"])[0].dated.all()


def test_a_header_in_another_language_is_not_guessed_at(tmp_path: Path) -> None:
    path = write(tmp_path / "german.csv", "Artikelnr.,Kunde,Bewertung\n4711,Anna,5\n")
    with pytest.raises(InvalidFile, match=r"--column reviews\.rating=COLUMN"):
        read(path)


def test_a_wrong_header_is_answered_once_with_options_to_paste(tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", "Reader Name,item_id,How many stars\nann,P1,5\n")
    with pytest.raises(InvalidFile) as caught:
        read(path)
    message = str(caught.value)
    assert "The file has: Reader Name, item_id, How many stars" in message
    assert "--column id=item_id" in message
    assert "--column 'reviews.rating=How many stars'" in message
    chosen = {"user": "Reader Name", "rating": "How many stars"}
    assert len(read(path, columns=chosen)[0]) == 1
    with pytest.raises(InvalidFile, match=r"'Nobody', given for reviews\.username, is not there"):
        read(path, columns={"user": "Nobody", "rating": "How many stars"})


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_every_format_obeys_column(tmp_path: Path, kind: str) -> None:
    import pandas as pd

    row = {"who": "ann", "user_id": "7", "what": "P1", "asin": "X", "rating": 5, "points": 3}
    path = tmp_path / "r"
    if kind == "json":
        path.write_text(json.dumps(row))
    else:
        frame = pd.DataFrame([row])
        frame.to_csv(path, index=False) if kind == "csv" else frame.to_parquet(path)
    reviews = read(path, columns={"user": "who", "id": "what", "rating": "points"})[0]
    assert (list(reviews.user_ids), reviews.products[0].product_id, reviews.rating.tolist()) == (["ann"], "P1", [3.0])


@pytest.mark.parametrize(
    ("values", "date_format", "kind", "expected"),
    [
        (["1483432200"], "", "epoch seconds", datetime(2017, 1, 3, 8, 30, tzinfo=UTC)),
        (["1483432200000"], "", "epoch milliseconds", datetime(2017, 1, 3, 8, 30, tzinfo=UTC)),
        (["1483432200000000"], "", "epoch microseconds", datetime(2017, 1, 3, 8, 30, tzinfo=UTC)),
        (["1483432200000000000"], "", "epoch nanoseconds", datetime(2017, 1, 3, 8, 30, tzinfo=UTC)),
        (["1.4834322e9"], "", "epoch seconds", datetime(2017, 1, 3, 8, 30, tzinfo=UTC)),
        (["1483432200.0"], "", "epoch seconds", datetime(2017, 1, 3, 8, 30, tzinfo=UTC)),
        (["20170103"], "", "YYYYMMDD", datetime(2017, 1, 3, tzinfo=UTC)),
        (["2017/1/3"], "", "ISO 8601", datetime(2017, 1, 3, tzinfo=UTC)),
        (["2017-01-03 08:30:15 UTC"], "", "ISO 8601", datetime(2017, 1, 3, 8, 30, 15, tzinfo=UTC)),
        (["2017-01-03 08:30:15.25 UTC"], "", "ISO 8601", datetime(2017, 1, 3, 8, 30, 15, 250_000, tzinfo=UTC)),
        (["2017/1/3 8:30 GMT"], "", "ISO 8601", datetime(2017, 1, 3, 8, 30, tzinfo=UTC)),
        (["13.01.2017 8:30 UTC"], "", "day, month, year", datetime(2017, 1, 13, 8, 30, tzinfo=UTC)),
        (["2017-1-3 8:30"], "", "ISO 8601", datetime(2017, 1, 3, 8, 30, tzinfo=UTC)),
        (["2017-01-03T10:30:00+02:00"], "", "ISO 8601", datetime(2017, 1, 3, 8, 30, tzinfo=UTC)),
        (["01 3, 2017"], "", "%m %d, %Y", datetime(2017, 1, 3, tzinfo=UTC)),
        (["January 3, 2017"], "", "%B %d, %Y", datetime(2017, 1, 3, tzinfo=UTC)),
        (["03/01/2017"], "", "ISO 8601", None),
        (["03.01.2017", "13.01.2017"], "", "day, month, year", datetime(2017, 1, 3, tzinfo=UTC)),
        (["3/1/2017 8:30", "31/1/2017"], "", "day, month, year", datetime(2017, 1, 3, 8, 30, tzinfo=UTC)),
        (["01/03/2017 08:30:00", "01/13/2017"], "", "month, day, year", datetime(2017, 1, 3, 8, 30, tzinfo=UTC)),
        (["03/01/2017", "13/01/2017", "01/13/2017"], "", "ISO 8601", None),
        (["03/01/2017"], "%d/%m/%Y", "%d/%m/%Y", datetime(2017, 1, 3, tzinfo=UTC)),
        (["12"], "s", "epoch seconds", datetime(1970, 1, 1, 0, 0, 12, tzinfo=UTC)),
        (["now"], "", "ISO 8601", None),
        (["today"], "", "ISO 8601", None),
        (["9999-12-31T23:59:59.999999Z"], "", "ISO 8601", None),
        (["0001-01-01T00:00:00+05:00"], "", "ISO 8601", None),
        (["12", "13"], "", "", None),
        # A number among dates is no date, and a date among numbers none either.
        (["23381205", "2017-01-03", "2017-01-04"], "", "ISO 8601", None),
        (["2017-01-03", "1483432200", "1483432300"], "", "epoch seconds", None),
    ],
)
def test_a_column_is_one_kind_of_date(
    values: list[str], date_format: str, kind: str, expected: datetime | None
) -> None:
    time_us, _, told = read_dates(Strings.of(values).numbered(), date_format)
    assert told == kind
    assert time_us[0] == (UNDATED if expected is None else round(expected.timestamp() * 1_000_000))


def test_an_unknown_date_format_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="--date-format: must be iso"):
        read_dates(Strings.of(["2017"]).numbered(), "%Q")


def test_the_same_review_has_the_same_id_in_every_unit(tmp_path: Path) -> None:
    ids = set()
    for number, unit in enumerate([1, 1000, 10**6, 10**9]):
        text = f"user,item,rating,date\nann,P1,5,{1483432200 * unit}\n"
        ids |= set(read(write(tmp_path / f"{number}.csv", text))[0].review_ids)
    assert len(ids) == 1


def test_without_dates_there_is_no_order(tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", "user,item,rating\nann,P1,5\nbob,P1,4\n")
    reviews, report = read(path)
    assert any("no row has a date that is read" in note for note in report.notes)
    assert any("do not have" in note or "does not have" in note for note in report.notes)
    with pytest.raises(InvalidFile, match="no earlier and no later"):
        check_order(reviews, [path])


@pytest.mark.parametrize(
    ("scale", "given", "expected"),
    [
        ((0, 10), [0, 5, 10], [0, 2.5, 5]),
        ((1, 10), [1, 5.5, 10], [1, 3, 5]),
        ((1, 5), [1, 3, 5], [1, 3, 5]),
        ((0.5, 5), [0.5, 3, 5], [0.5, 3, 5]),
        ((-10, 10), [-10, 0, 10], [0, 2.5, 5]),
        ((0, 100), [0, 50, 100], [0, 2.5, 5]),
    ],
)
def test_rating_scales(tmp_path: Path, scale: tuple[float, float], given: list[float], expected: list[float]) -> None:
    rows = "".join(f"u{number},P1,{rating},{1483432200 + number}\n" for number, rating in enumerate(given))
    path = write(tmp_path / "r.csv", "user,item,rating,date\n" + rows)
    assert read(path, rating_scale=scale)[0].rating.tolist() == pytest.approx(expected)


def test_a_decimal_comma_is_read(tmp_path: Path) -> None:
    assert read(write(tmp_path / "r.csv", "user;item;rating\nann;P1;4,5\n"))[0].rating.tolist() == [4.5]


def test_zeros_are_said_and_can_be_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", "user,item,rating\nann,P1,0\nbob,P1,4\n")
    reviews, report = read(path)
    assert sorted(reviews.rating.tolist()) == [0.0, 4.0]
    assert any("1 ratings are 0 and count as zero stars" in note for note in report.notes)
    reviews, report = read(path, zero_is_unrated=True)
    assert (reviews.rating.tolist(), report.rows_read, report.rows_kept) == ([4.0], 1, 1)


def test_a_quote_that_is_never_closed_is_named_by_its_row(tmp_path: Path) -> None:
    rows = "".join(f"u{number},P1,5,fine\n" for number in range(5))
    path = write(tmp_path / "r.csv", "user,item,rating,text\n" + rows + 'ann,P1,5,"open\n' + rows)
    with pytest.raises(InvalidFile, match="line 7: must be CSV: a quote opens in row 7 and is not closed"):
        read(path)


def test_ids_are_trimmed_and_whole_numbers_have_no_fraction(tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", "user,item,rating\nann,P1,5\nbob,P1 ,4\n")
    reviews, report = read(path)
    assert [product.product_id for product in reviews.products] == ["P1"]
    assert "id: blanks around it were taken away in 1 rows" in report.notes
    path = write(tmp_path / "f.csv", "user,item,rating\nann,100.0,5\nbob,101.0,4\ncid,,3\n")
    assert {item.product_id for item in read(path, {"max_dropped": 1.0})[0].products} == {"100", "101"}
    path = write(tmp_path / "v.csv", "user,item,rating\nann,1.0,5\nbob,1.1,4\n")
    assert {item.product_id for item in read(path)[0].products} == {"1.0", "1.1"}


def test_a_product_is_what_most_rows_say_and_else_its_id(tmp_path: Path) -> None:
    rows = [
        {"name": "", "reviews.username": "a"},
        *({"name": name, "reviews.username": name} for name in ("X", "Y", "Y")),
    ]
    assert read(write_csv(tmp_path / "r.csv", rows))[0].products[0].name == "Y"
    assert read(write_csv(tmp_path / "n.csv", [{"name": ""}]))[0].products[0].name == "P1"


def test_markup_and_entities_are_read_as_people_wrote_them(tmp_path: Path) -> None:
    row = {
        "reviews.text": "a &lt;b&gt;<br />c",
        "name": '<span class="x">Tom &amp; Anna&#39;s</span>',
        "brand": "A &amp; B",
    }
    reviews = read(write_csv(tmp_path / "r.csv", [row]))[0]
    assert reviews.texts == ["a <b> c"]
    assert (reviews.products[0].name, reviews.products[0].brand) == ("Tom & Anna's", "A & B")
    assert without_markup("I <3 this, 5 > 4 & so on <unknown>") == "I <3 this, 5 > 4 & so on <unknown>"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (float("nan"), ""),
        (b"caf\xc3\xa9", "café"),
        ([["Home"], ["Home", "Clothing, Shoes & Jewelry"]], "Home,Clothing, Shoes & Jewelry"),
        (datetime(2017, 1, 3, tzinfo=UTC), "2017-01-03T00:00:00+00:00"),
        (5, "5"),
    ],
)
def test_values_as_text(value: object, text: str) -> None:
    assert text_of(value) == text


@pytest.mark.parametrize(
    "names", [["Home"], ["Clothing, Shoes & Jewelry"], ["Home", "Rock, Pop", "Socks"], ["a,b", "c"]]
)
def test_categories_keep_their_commas(names: list[str]) -> None:
    assert split_categories(joined_categories(names)) == [name.replace("a,b", "a, b") for name in names]


@pytest.mark.parametrize("shape", ["lines", "array", "pretty", "literals"])
def test_records_of_every_shape(tmp_path: Path, shape: str) -> None:
    rows = [{"user_id": f"u{n}", "asin": "P1", "rating": 5, "title": None, "text": "it's\u2028fine"} for n in range(3)]
    text = {
        "lines": "\n".join(json.dumps(row, ensure_ascii=False) for row in rows),
        "array": json.dumps(rows),
        "pretty": "\n".join(json.dumps(row, indent=2) for row in rows),
        "literals": "\n".join(map(repr, rows)),
    }[shape]
    reviews = read(write(tmp_path / "r.json", text))[0]
    assert len(reviews) == 3
    assert set(reviews.texts) == {"it's\u2028fine"}


def test_literals_are_never_evaluated(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    text = "{'user_id': 'a', 'asin': 'P', 'rating': 5}\n" + f"{{'user_id': open({str(mark)!r}, 'w').write('x')}}\n"
    assert len(read(write(tmp_path / "r.json", text), {"max_dropped": 1.0})[0]) == 1
    assert not mark.exists()


@pytest.mark.parametrize("kind", ["csv", "parquet", "json"])
def test_products_join_in_every_format(tmp_path: Path, kind: str) -> None:
    import pandas as pd

    path, meta = write(tmp_path / "r.csv", ROWS), tmp_path / "m"
    frame = pd.DataFrame([{"item_id": "P1", "title": "Kettle", "store": "Acme"}])
    if kind == "csv":
        frame.to_csv(meta, index=False)
    elif kind == "json":
        frame.to_json(meta, orient="records")
    else:
        frame.to_parquet(meta)
    reviews, report = read(path, metadata=[meta])
    assert [(item.name, item.brand) for item in reviews.products] == [("Kettle", "Acme"), ("P2", "")]
    assert "metadata names 1 of 2 products" in report.notes
    with pytest.raises(InvalidFile, match=r"none of its 1 ids is among theirs: Z9 here, P1, P2 there"):
        read(path, metadata=[write(tmp_path / "z.csv", "item_id,title\nZ9,Lamp\n")])


@pytest.mark.parametrize(
    ("rows", "of", "shared"), [(10, 100, False), (11, 100, True), (62, 30_000, False), (101, 100_000, True)]
)
def test_when_a_placeholder_is_nobody(rows: int, of: int, shared: bool) -> None:
    assert is_shared_placeholder(rows, of) is shared


def test_rows_without_a_name_are_no_super_user(tmp_path: Path) -> None:
    rows = [{"reviews.username": "" if n % 2 else f"u{n}", "id": f"P{n % 7}"} for n in range(60)]
    reviews, report = read(write_csv(tmp_path / "r.csv", rows))
    names = [name for name, hidden in zip(reviews.user_ids, reviews.anonymous, strict=True) if hidden]
    assert names == ["Akshat"]
    assert "Akshat" in reviews.anonymous_names
    assert any("30 rows have no user name" in note for note in report.notes)


def test_names_that_many_share_are_candidates(tmp_path: Path) -> None:
    rows = [{"reviews.username": "A Traveler", "id": f"P{n}"} for n in range(30)]
    rows += [{"reviews.username": f"u{n}", "id": "P1"} for n in range(30)]
    path = write_csv(tmp_path / "r.csv", rows)
    (note,) = (note for note in read(path)[1].notes if "A Traveler" in note)
    assert "30 reviews, of up to 30 products on one day" in note
    assert "--anonymous-name 'A Traveler'" in note
    names = {"anonymous_names": ("Anonymous", "A Traveler")}
    assert not any("A Traveler" in note for note in read(path, names)[1].notes)


def test_a_name_with_more_reviews_than_one_user_can_have_is_refused(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("trainer.data.shared_names.MAX_REVIEWS_PER_USER", 5)
    path = write_csv(tmp_path / "r.csv", [{"reviews.username": "A Traveler"}] * 6)
    with pytest.raises(InvalidFile, match=r"'A Traveler' has 6.*--anonymous-name 'A Traveler'"):
        read(path)


def test_repeats_are_counted(tmp_path: Path) -> None:
    reviews, report = read(write(tmp_path / "r.csv", ROWS + ROWS.splitlines()[1] + "\n"))
    assert len(reviews) == 3
    assert "1 rows repeat another exactly: all are kept and count" in report.notes
    assert len(np.unique(list(reviews.review_ids))) == 3
