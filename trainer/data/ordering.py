"""Review ids that are unique for their user, and the order of the rows.

A review without an id of its own gets the hash of its content, 16 bytes in hexadecimal. Bytes sort as their hexadecimal
does, so such ids are kept, compared and sorted as two integers, and written out as strings once, at the end.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trainer.data.columns import CHUNK_ROWS, Repeated, Strings
from trainer.data.names import REVIEW_ID
from twotower.features import Int64, id_problem

_SEPARATOR: Final = "\x1f"
_CONTENT: Final = ("id", "reviews.username", "reviews.date", "reviews.rating", "reviews.title", "reviews.text")
_HASH: Final = re.compile("[0-9a-f]{32}")
_HEX: Final = np.frombuffer("".join(f"{byte:02x}" for byte in range(256)).encode(), np.uint8).reshape(256, 2)
Keys = NDArray[np.uint64]
"""(rows, 2): the halves of 16 bytes, high first."""


def ordered(columns: Mapping[str, Repeated], time_us: Int64) -> tuple[Int64, Strings]:
    """Order rows by (time, review id, user id).

    A row keeps the id that the file gives it; a row without one gets its content's hash. Where two reviews of a user
    have the same id, that of the later one is hashed again with a number, so that a later row changes nothing of an
    earlier one.

    Args:
        columns: those of the usable rows, blanks filled.
        time_us: (rows,) times of these rows.

    Returns:
        The rows in order, (rows,) int64; and the review id of each, in that order.
    """
    content = _content(columns)
    given = columns[REVIEW_ID]
    valid = given.distinct.test(lambda value: bool(value.strip()) and id_problem(value) is None)
    own = valid[given.code]
    keys = (
        np.where(own[:, np.newaxis], _keys(_key(value) for value in given.distinct)[given.code], content)
        if own.any()
        else content
    )
    order = np.lexsort((content[:, 1], content[:, 0], time_us))
    repeats = _repeats(columns["reviews.username"].code, keys, order)
    if not own.any():
        for row, number in repeats.items():
            content[row] = _keys([_hash(_hexadecimal(content[row : row + 1])[0], str(number))])
        order = np.lexsort((content[:, 1], content[:, 0], time_us))
        return order, _hexadecimal(content[order])
    ids = _ids(given, own, content, repeats)
    order = _by_strings(time_us, ids, columns["reviews.username"])
    return order, ids.take(order)


def _content(columns: Mapping[str, Repeated]) -> Keys:
    """Hash every row's content: (rows, 2) uint64."""
    rows = len(columns["id"])
    keys: Keys = np.empty((rows, 2), np.uint64)
    for start in range(0, rows, CHUNK_ROWS):
        parts = [columns[name][start : start + CHUNK_ROWS] for name in _CONTENT]
        keys[start : start + CHUNK_ROWS] = _keys(_hash(*row) for row in zip(*parts, strict=True))
    return keys


def _hash(*values: str) -> bytes:
    return hashlib.sha256(_SEPARATOR.join(values).encode()).digest()[:16]


def _key(given: str) -> bytes:
    """Bytes that stand for an id of the file: its own if it is such a hash itself, as a program like this writes."""
    return bytes.fromhex(given) if _HASH.fullmatch(given) else _hash("given", given)


def _keys(values: Iterable[bytes]) -> Keys:
    return np.frombuffer(b"".join(values), ">u8").reshape(-1, 2).astype(np.uint64)


def _hexadecimal(keys: Keys) -> Strings:
    import pyarrow as pa

    parts = []
    for start in range(0, len(keys), CHUNK_ROWS):
        data = _HEX[np.ascontiguousarray(keys[start : start + CHUNK_ROWS]).astype(">u8").view(np.uint8)].reshape(-1, 32)
        offsets = np.arange(len(data) + 1, dtype=np.int64) * 32
        parts.append(Strings(pa.LargeStringArray.from_buffers(len(data), pa.py_buffer(offsets), pa.py_buffer(data))))
    return Strings.joined(parts)


def _repeats(user: NDArray[np.int32], keys: Keys, order: Int64) -> dict[int, int]:
    """Rows whose (user, id) an earlier row in `order` has: row → how many earlier ones have it."""
    by_id = order[np.lexsort((keys[order, 1], keys[order, 0], user[order]))]
    same = (user[by_id[1:]] == user[by_id[:-1]]) & (keys[by_id[1:]] == keys[by_id[:-1]]).all(axis=1)
    repeats: dict[int, int] = {}
    for before in np.flatnonzero(same).tolist():
        repeats[int(by_id[before + 1])] = repeats.get(int(by_id[before]), 0) + 1
    return repeats


def _ids(given: Repeated, own: NDArray[np.bool_], content: Keys, repeats: Mapping[int, int]) -> Strings:
    """Every row's id as a string."""
    import pyarrow as pa
    import pyarrow.compute as pc

    parts = []
    for start in range(0, len(own), CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        parts.append(
            Strings(pc.if_else(pa.array(own[rows]), given.strings(rows).array, _hexadecimal(content[rows]).array))
        )
    ids = Strings.joined(parts)
    if not repeats:
        return ids
    changed = sorted(repeats)
    rehashed = _hexadecimal(_keys(_hash(ids[row], str(repeats[row])) for row in changed))
    source = np.arange(len(ids))
    source[changed] = len(ids) + np.arange(len(changed))
    return Strings.joined([ids, rehashed]).take(source)


def _by_strings(time_us: Int64, ids: Strings, user: Repeated) -> Int64:
    """Order by (time, id, user): UTF-8 sorts by code point, as Python does."""
    import pyarrow as pa
    import pyarrow.compute as pc

    table = pa.table({"time": time_us, "id": ids.array, "user": user.strings(slice(None)).array})
    keys = [("time", "ascending"), ("id", "ascending"), ("user", "ascending")]
    return np.asarray(pc.sort_indices(table, sort_keys=keys), np.int64)
