"""Reading a file: what is refused, and how it is told."""

import gzip
from pathlib import Path

import pytest

from tests.support.reviews import ROW, write_csv
from trainer.data.delimited import read_delimited
from trainer.data.names import NEEDED
from trainer.data.raw import COLUMNS
from twotower.errors import InvalidFile

HEADER = ",".join(ROW)


def good_bytes(tmp_path: Path) -> bytes:
    return write_csv(tmp_path / "good.csv", [ROW, ROW]).read_bytes()


@pytest.mark.parametrize(
    ("content", "field", "message"),
    [
        (b"", "rows", "the file has no text"),
        (HEADER.encode() + b"\n", "rows", "must be at least 1"),
        (HEADER.encode() + b"\n\n\n", "rows", "must be at least 1"),
        (b"\x89PNG\r\n\x1a\n", "columns", "id is missing"),
        (HEADER.encode() + b"\nP\xc3\xa9,caf\xe9", "encoding", f"0xe9 at offset {len(HEADER) + 8}, line 2"),
        (HEADER.encode() + b"\nP1,caf\x9d", "encoding", f"0x9d at offset {len(HEADER) + 7}, line 2"),
        (HEADER.encode() + b"\nP1,\xe2\x82", "encoding", f"0xe2 at offset {len(HEADER) + 4}, line 2"),
        (HEADER.encode() + b"\nP1,\0", "file", f"NUL byte at offset {len(HEADER) + 4}"),
        (HEADER.encode() + b'\nP1,"never closed\n', "line 2", "a quote opens in row 2 and is not closed by line 2"),
        (b'{"id": 1}\n', "columns", "reviews.rating is missing"),
        (gzip.compress(b"x" * 5000)[:-9], "file", "must be whole gzip"),
        (b"\x1f\x8b not gzip", "file", "must be whole gzip"),
    ],
)
def test_a_broken_file_is_refused_by_name(tmp_path: Path, content: bytes, field: str, message: str) -> None:
    path = tmp_path / "reviews.csv"
    path.write_bytes(content)
    with pytest.raises(InvalidFile) as caught:
        read_delimited(path)
    assert message in {violation.field: violation.description for violation in caught.value.violations}[field]
    assert str(path) in str(caught.value)


def test_broken_encoding_is_located_beyond_the_first_chunk(tmp_path: Path) -> None:
    path = tmp_path / "reviews.csv"
    lines = b"filling the file\n" * 200_000  # three chunks
    path.write_bytes("é\n".encode() + lines + b"good \xff bad")
    with pytest.raises(InvalidFile, match=f"0xff at offset {len(lines) + 8}, line 200002"):
        read_delimited(path)


@pytest.mark.parametrize("shift", ["", "x"])  # one of the two puts a two-byte character across the chunk boundary
def test_a_character_split_between_chunks_is_no_error(tmp_path: Path, shift: str) -> None:
    texts = [shift + "é" * 60_000] + ["é" * 60_000] * 9
    assert (
        read_delimited(write_csv(tmp_path / "r.csv", [{"reviews.text": text} for text in texts])).columns[
            "reviews.text"
        ]
        == texts
    )


@pytest.mark.parametrize("column", NEEDED)
def test_every_needed_column_is_missed_by_name(tmp_path: Path, column: str) -> None:
    path = write_csv(tmp_path / "r.csv", [ROW], [name for name in COLUMNS if name != column])
    with pytest.raises(InvalidFile, match=f"columns: {column} is missing"):
        read_delimited(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match="No such file"):
        read_delimited(tmp_path / "none.csv")


def test_plain_and_gzipped_files_are_the_same_whatever_their_names(tmp_path: Path) -> None:
    data = good_bytes(tmp_path)
    packed, plain = tmp_path / "packed.csv", tmp_path / "plain.csv.gz"
    packed.write_bytes(gzip.compress(data))
    plain.write_bytes(data)
    assert read_delimited(packed) == read_delimited(plain)


def test_a_byte_order_mark_is_not_part_of_the_first_column(tmp_path: Path) -> None:
    path = tmp_path / "bom.csv"
    path.write_bytes(b"\xef\xbb\xbf" + good_bytes(tmp_path))
    assert read_delimited(path).columns["id"] == ["P1", "P1"]


def test_rows_of_another_width_are_set_aside_with_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    good = ",".join(ROW[name] for name in ROW if name != "categories")
    path.write_text(f"{HEADER}\n{good}\n{good.replace(',', ',x,', 1)}\n\n{good},7,8\n")
    raw = read_delimited(path)
    assert list(raw.row_numbers) == [3]
    assert raw.malformed == {2: 9, 5: 11}


def test_line_breaks_inside_quotes_stay(tmp_path: Path) -> None:
    raw = read_delimited(write_csv(tmp_path / "r.csv", [{"reviews.text": 'two\nlines, "quoted"'}]))
    assert raw.columns["reviews.text"] == ['two\nlines, "quoted"']
