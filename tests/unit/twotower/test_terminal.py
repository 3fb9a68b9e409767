"""Tables show everything at any width, and text from outside as it is."""

import io
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from twotower.terminal import Column, Heading, Listing, console, fields_table, plain, shortened

NAMES = st.lists(st.text("abc dé中", min_size=1, max_size=120).map(str.strip).filter(bool), min_size=1, max_size=5)
WIDTHS = st.integers(12, 200)
ALIKE = [f"All-new tablet with an 8 inch display, wireless, {size} GB, with special offers" for size in (8, 16, 32)]


def printed(renderable: object, width: int, *, terminal: bool = True, encoding: str = "utf-8") -> list[str]:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict", newline="")
    out = Console(file=file, width=width, force_terminal=terminal, color_system=None, highlight=False, markup=False)
    out.print(renderable)
    file.seek(0)
    return file.read().splitlines()


def table(names: list[str]) -> Listing:
    listing = Listing(Column("#"), Column("Product", "name"), Column("Brand", "text"), Column("Predicted rating"))
    for rank, name in enumerate(names, start=1):
        listing.add_row(str(rank), plain(name), plain(name[::-1]), f"{1000 + rank}.5")
    return listing


@given(NAMES, WIDTHS)
def test_no_line_is_wider_than_the_terminal_and_no_number_is_cut(names: list[str], width: int) -> None:
    lines = printed(table(names), width)
    assert max(map(cell_len, lines)) <= width
    text = "\n".join(lines)
    for rank in range(1, len(names) + 1):
        assert f"{1000 + rank}.5" in text


@given(NAMES)
def test_a_pipe_gets_a_row_in_a_line(names: list[str]) -> None:
    header, *rows = printed(table(names), 2**20, terminal=False)
    assert header.split() == ["#", "Product", "Brand", "Predicted", "rating"]
    assert len(rows) == len(names)
    for rank, (row, name) in enumerate(zip(rows, names, strict=True), start=1):
        assert row == row.rstrip()
        assert name in row
        assert name[::-1].strip() in row
        assert row.endswith(f"{1000 + rank}.5")


@given(NAMES.map(lambda names: list(dict.fromkeys(names))), st.integers(8, 80))
@example(ALIKE, 40)
@example(["a" * 40 + "x" + "b" * 40, "a" * 40 + "y" + "b" * 40], 20)
def test_names_stay_apart_when_they_are_shortened(names: list[str], size: int) -> None:
    short = shortened(names, size)
    assert len(set(short)) == len(set(names))
    for name, shown in zip(names, short, strict=True):
        assert shown == name or (cell_len(shown) <= size and shown[0] == name[0] and "…" in shown)


def test_names_that_differ_at_their_ends_are_told_apart_in_80_columns() -> None:
    text = " ".join(" ".join(printed(table(ALIKE), 80)).split())
    for size in (8, 16, 32):
        assert re.search(rf"\b{size} GB", text) or re.search(rf"wireless, {size}", text)


def test_a_table_that_does_not_fit_is_folded_and_its_first_column_stands_in_every_part() -> None:
    wide = Listing(Column("method", "label"), *(Column(f"figure {number}") for number in range(9)))
    for name in ("popularity", "best"):
        wide.add_row(name, *(f"0.{number}23 ± 0.001" for number in range(9)))
    lines = printed(wide, 60)
    assert max(map(cell_len, lines)) <= 60
    parts = "\n".join(lines).split("\n\n")
    assert len(parts) > 1
    for part in parts:
        assert [line.split()[0] for line in part.splitlines()][-2:] == ["popularity", "best"]
    assert sorted(re.findall(r"0\.(\d)23 ± 0\.001", "\n".join(lines))) == sorted("012345678" * 2)


@pytest.mark.parametrize("width", [30, 80])
def test_fields_keep_their_values(width: int) -> None:
    lines = printed(
        fields_table({"Reviewed products": "p0, p1, p2", "Action": "filled with the most frequent one"}), width
    )
    assert max(map(cell_len, lines)) <= width
    values = " ".join(line[19:].strip() for line in lines)
    assert values == "p0, p1, p2 filled with the most frequent one"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Caf\u00e9\u00a0Cr\u00e8me", "Café Crème"),  # a no-break space
        ("one\u2028two\u2029three", "one two three"),
        ("a\x1b[31mb\nc\td\x7f", "a\ufffd[31mb\ufffdc\ufffdd\ufffd"),
        ("\u0646\u0627\u0645\u200c\u0647\u0627", "\u0646\u0627\u0645\u200c\u0647\u0627"),  # joined by a non-joiner
        ("\U0001f469\u200d\U0001f467", "\U0001f469\u200d\U0001f467"),
        ("soft\u00adhyphen\ufeff", "softhyphen"),
        ("user\u202egnp.exe", "usergnp.exe"),  # an override that would turn the rest around
        ("\udcff", "\ufffd"),
    ],
)
def test_text_from_outside(text: str, shown: str) -> None:
    assert plain(text).plain == shown


def test_a_right_to_left_name_does_not_turn_around_its_row_on_a_terminal() -> None:
    name = "\u0643\u062a\u0627\u0628"
    (_, row) = printed(table([name]), 80)
    assert f"\u2068{name}\u2069" in row
    (_, piped) = printed(table([name]), 2**20, terminal=False)
    assert "\u2068" not in piped


def test_standard_output_that_is_no_terminal_has_no_end_of_the_line(capsys: Any) -> None:
    console().print("word " * 200)
    assert capsys.readouterr().out.count("\n") == 1


def test_a_heading_is_ascii_where_it_must_be() -> None:
    (line,) = printed(Heading("Train"), 40, encoding="ascii")
    assert line == "Train " + "-" * 34
    assert printed(Heading(), 40) == ["─" * 39]
