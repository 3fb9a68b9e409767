"""Columns of text against plain Python lists."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.data.columns import Builder, Strings

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
