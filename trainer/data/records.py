"""Files of records: JSON lines, one JSON array, JSON objects one after another, and Python literals.

The public Amazon review dumps of 2014, 2018 and 2023 are such files.
"""

import ast
import json
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from trainer.data.columns import Builder
from trainer.data.files import TextFile, inspect_text, refused
from trainer.data.names import USUAL, candidates, chosen_columns, refuse_header
from trainer.data.raw import RawReviews, SourceOptions, absent_note, names_note, with_absent
from trainer.data.values import maker_of, text_of

Shape = Literal["lines", "literals", "whole"]
_HEAD_CHARACTERS: Final = 2**20
_HEAD_RECORDS: Final = 1000
_BLANKS: Final = " \t\r\n,"
_TOO_DEEP: Final = (ValueError, SyntaxError, RecursionError, MemoryError, TypeError)


def read_records(path: Path, options: SourceOptions) -> RawReviews:
    """Read reviews, packed or not.

    Raises:
        InvalidFile: text that can't be decoded, a broken archive, a needed key that no record has, or no records.
    """
    chosen = chosen_columns(options.columns)
    text = inspect_text(path, options.encoding)
    keys = _keys(text, chosen)
    builder = Builder(USUAL)
    row_numbers = array("q")
    malformed: dict[int | str, int | str] = {}
    used: dict[str, str] = {}
    for number, row in records(text):
        if isinstance(row, str):
            malformed[number] = row
            continue
        values = {name: _first(row, own, name, used) for name, own in keys.items()}
        builder.append(values.get(name) or (maker_of(row) if name == "manufacturer" else "") for name in USUAL)
        row_numbers.append(number)
    if not row_numbers:
        raise refused(path, "rows", f"must be at least 1, got 0; {len(malformed)} lines are no JSON objects")
    notes = [*names_note(used), *absent_note(used)]
    if text.guessed:
        notes.append("text is not UTF-8 and was read as Windows-1252, which is a guess: --encoding says it")
    columns = with_absent(builder.finish(), len(row_numbers))
    return RawReviews(
        columns, row_numbers, malformed, 0, text.sha256, "must be a JSON object", names=used, notes=tuple(notes)
    )


def _keys(text: TextFile, chosen: Mapping[str, str]) -> dict[str, list[str]]:
    """Keys to look for, by column, from the first records; all of them if the first have not one that is needed."""
    found: dict[str, None] = {}
    count = 0
    for number, row in records(text):
        if isinstance(row, dict):
            found.update(dict.fromkeys(map(str, row)))
            count += 1
        if count >= _HEAD_RECORDS or number >= 10 * _HEAD_RECORDS:
            break
    mapped = candidates(list(found), chosen)
    if count:
        refuse_header(text.path, list(found), mapped, chosen)
    return mapped


def _first(row: Mapping[str, Any], keys: list[str], name: str, used: dict[str, str]) -> str:
    """The value of the first key that the row has, noting the key."""
    for key in keys:
        if key in row:
            used.setdefault(name, key)
            return text_of(row[key])
    return ""


def records(text: TextFile) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Records with their numbers, from 1 (of lines, those of the lines); a broken one is its text.

    Raises:
        InvalidFile: an array, or objects over several lines, that is broken.
    """
    shape = _shape(text)
    if shape == "whole":
        yield from enumerate(_whole(text), start=1)
        return
    with text.open("\n") as file:
        for number, line in enumerate(file, start=1):
            if stripped := line.strip():
                row = _parsed(stripped, literals=shape == "literals")
                yield number, row if isinstance(row, dict) else stripped


def _shape(text: TextFile) -> Shape:
    with text.open("\n") as file:
        head = file.read(_HEAD_CHARACTERS).lstrip()
    if head.startswith("["):
        return "whole"
    lines = [line.strip() for line in head.split("\n", 20)[:20] if line.strip()]
    if any(isinstance(_parsed(line, literals=False), dict) for line in lines):
        return "lines"
    if any(isinstance(_parsed(line, literals=True), dict) for line in lines):
        return "literals"
    try:
        json.JSONDecoder().raw_decode(head)
    except ValueError:
        return "lines"
    return "whole"


def _parsed(line: str, *, literals: bool) -> object:
    """A line as JSON, or as a Python literal; None if it is neither."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        pass
    if not literals:
        return None
    try:
        return ast.literal_eval(line)
    except _TOO_DEEP:
        return None


def _whole(text: TextFile) -> Iterator[dict[str, Any] | str]:
    """Records of an array or of objects one after another."""
    with text.open("\n") as file:
        content = file.read()
    decoder, place = json.JSONDecoder(), 0
    in_array = content.lstrip().startswith("[")
    skipped = _BLANKS + ("[" if in_array else "")
    while True:
        while place < len(content) and content[place] in skipped:
            place += 1
        if place == len(content) or (in_array and content[place] == "]"):
            return
        try:
            record, place = decoder.raw_decode(content, place)
        except (ValueError, RecursionError) as error:
            line = content.count("\n", 0, place) + 1
            what = "a JSON array" if in_array else "JSON objects one after another"
            raise refused(
                text.path, f"line {line}", f"must be {what}; the record that begins here is broken: {error}"
            ) from error
        yield record if isinstance(record, dict) else json.dumps(record)
