"""Columns of text without a Python object per row: ten million reviews fit where a list of their names would not."""

from abc import ABC
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, overload

import numpy as np
from numpy.typing import NDArray

from twotower.features import Int32, Int64

CHUNK_ROWS: Final = 65_536
"""So many rows at most are Python objects at a time."""


class Column(Sequence[str], ABC):
    """Strings that are read a chunk at a time; equal to a list of the same strings, and a slice is a list."""

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), CHUNK_ROWS):
            yield from self[start : start + CHUNK_ROWS]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and not isinstance(other, str) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment] # as lists have none


class Strings(Column):
    """Strings in one Arrow buffer.

    Args:
        array: ``pyarrow.LargeStringArray`` without nulls.
    """

    def __init__(self, array: Any) -> None:
        self.array = array

    @classmethod
    def of(cls, values: Iterable[str]) -> "Strings":
        """Copy strings; an unpaired surrogate, which JSON can say and UTF-8 can't, becomes U+FFFD."""
        import pyarrow as pa

        texts = list(values)
        try:
            return cls(pa.array(texts, pa.large_string()))
        except UnicodeEncodeError:
            whole = [value.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for value in texts]
            return cls(pa.array(whole, pa.large_string()))

    @classmethod
    def joined(cls, parts: Iterable["Strings"]) -> "Strings":
        """Concatenate columns."""
        import pyarrow as pa

        arrays = [part.array for part in parts]
        return cls(pa.concat_arrays(arrays) if arrays else pa.array([], pa.large_string()))

    def __len__(self) -> int:
        return len(self.array)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        values: str | list[str] = (
            self.array[index].to_pylist() if isinstance(index, slice) else self.array[int(index)].as_py()
        )
        return values

    def take(self, rows: Int64 | Int32) -> "Strings":
        """The strings of some rows."""
        return Strings(self.array.take(rows))

    def test(self, condition: Callable[[str], bool]) -> NDArray[np.bool_]:
        """Where a condition holds: (len,) bool."""
        return np.fromiter((condition(value) for value in self), bool, len(self))

    def numbered(self) -> "Repeated":
        """Number the strings, equal ones alike, in the order of first appearance."""
        coded = self.array.dictionary_encode()
        return Repeated(Strings(coded.dictionary), coded.indices.to_numpy())


class Repeated(Column):
    """Strings that repeat: each distinct one once, and a number per row.

    Args:
        distinct: the strings, some of which may be in no row.
        code: (rows,) int32 index into `distinct`.
    """

    def __init__(self, distinct: Strings, code: Int32) -> None:
        self.distinct, self.code = distinct, code

    def __len__(self) -> int:
        return len(self.code)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        return (
            self.distinct.take(self.code[index])[:]
            if isinstance(index, slice)
            else self.distinct[int(self.code[index])]
        )

    def take(self, rows: Int64 | Int32) -> "Repeated":
        """Some rows, numbered as before."""
        return Repeated(self.distinct, self.code[rows])

    def strings(self, rows: Int64 | slice) -> Strings:
        """Some rows as plain strings."""
        return self.distinct.take(self.code[rows])

    def filled(self, where: NDArray[np.bool_], value: str) -> "Repeated":
        """Put `value` in the place of the distinct strings where `where`, (distinct,) bool, is true.

        Equal strings have one number again.
        """
        if not where.any():
            return self
        import pyarrow as pa
        import pyarrow.compute as pc

        replaced = Strings(
            pc.if_else(pa.array(where), pa.scalar(value, pa.large_string()), self.distinct.array)
        ).numbered()
        return Repeated(replaced.distinct, replaced.code[self.code])


class Builder:
    """Collects the columns of a file as they are read.

    Args:
        names: of the columns.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._chunks: dict[str, list[Any]] = {name: [] for name in names}
        self._pending: dict[str, list[str]] = {name: [] for name in self._chunks}
        self._rows = 0

    def append(self, values: Iterable[str]) -> None:
        """Add one row, in the order of the names."""
        for column, value in zip(self._pending.values(), values, strict=True):
            column.append(value)
        self._rows += 1
        if self._rows == CHUNK_ROWS:
            self._flush()

    def extend(self, columns: Iterable[Strings]) -> None:
        """Add rows that are columns already, in the order of the names."""
        self._flush()
        for chunks, strings in zip(self._chunks.values(), columns, strict=True):
            chunks.append(strings.array.dictionary_encode())

    def _flush(self) -> None:
        if self._rows:
            for name, values in self._pending.items():
                self._chunks[name].append(Strings.of(values).array.dictionary_encode())
                values.clear()
        self._rows = 0

    def finish(self) -> dict[str, Repeated]:
        """Give the columns and leave the builder empty."""
        self._flush()
        return {name: _unified(self._chunks.pop(name)) for name in list(self._chunks)}


def _unified(chunks: list[Any]) -> Repeated:
    import pyarrow as pa

    if not chunks:
        return Repeated(Strings.of([]), np.zeros(0, np.int32))
    coded = pa.chunked_array(chunks).unify_dictionaries()
    chunks.clear()
    return Repeated(
        Strings(coded.chunk(0).dictionary), np.concatenate([chunk.indices.to_numpy() for chunk in coded.chunks])
    )
