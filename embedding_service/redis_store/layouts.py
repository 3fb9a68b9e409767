"""Byte layouts of the values in Redis: the only place in code with their offsets, those in the Lua scripts included.

docs/formats/redis.md is their public description.
"""

import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from embedding_service.ports import AlsOrigin, Outcome, StoredUsers
from twotower.features import ALS_DIM, BERT_DIM, Float32, Int16, Int32, Int64
from twotower.wire import fixed_point_from_bytes, fixed_point_to_bytes

# Accumulators: sums, review count, stamp (the time of the last change in µs since 1970), bytes of the list that count
# no more; then the list of products, to which a change only appends.
_SUMS_AND_COUNT: Final = np.dtype([("sums", ">i4", (BERT_DIM,)), ("count", ">u4")])
_STAMPED: Final = np.dtype([*_SUMS_AND_COUNT.descr, ("changed_us", ">i8")])
_ACCUMULATOR: Final = np.dtype([*_STAMPED.descr, ("removed", ">u4")])
_HEAD_BYTES: Final = _ACCUMULATOR.itemsize
_EMPTY_ACCUMULATOR: Final = bytes(_HEAD_BYTES)
_REMOVED: Final = b"\xff"  # in no UTF-8: before an id, the product is reviewed no longer
MAX_LIST_BYTES: Final = 2 << 20
KEPT_LIST_BYTES: Final = 3 << 19
"""A list of products that grows longer than the former is cut to its newest, as many as the latter holds."""
_SMALL_LIST_BYTES: Final = 2048  # such a list is written anew at each change, and takes no spare memory then
STAMP_RANGE: Final = (_SUMS_AND_COUNT.itemsize, _STAMPED.itemsize - 1)
"""GETRANGE of an accumulator that gives its stamp."""

# ALS records: vector, stamp of the state that it was made from, origin.
_ALS_HEAD: Final = np.dtype([("vector", "<f4", (ALS_DIM,)), ("stamp", ">i8"), ("origin", "u1")])
_NO_ALS_HEAD: Final = bytes(_ALS_HEAD.itemsize)
_ORIGINS: Final = {origin: bytes([origin]) for origin in AlsOrigin}
NO_ALS_VECTOR: Final = bytes(4 * ALS_DIM)

# Log entries: these fields, the vector, the product id.
_ENTRY_FIELDS: Final = {"FLAGS": "B", "TIME": "q", "RATING": "I", "DIGEST": "16s"}
_ENTRY_HEAD: Final = struct.Struct("<" + "".join(_ENTRY_FIELDS.values()))
_PRODUCT_AT: Final = _ENTRY_HEAD.size + 2 * BERT_DIM
_TIME_GIVEN: Final = 1
_DIGEST_GIVEN: Final = 2
MICRO_STARS: Final = 1_000_000

# Outbox entries: sign, kind, time in µs since 1970, product id. Counters' fields: kind, hour in two digits, product id.
NAMED: Final = "u"
ANONYMOUS: Final = "a"
_OUTBOX_HEAD: Final = struct.Struct("<ccq")
FIELD_HOUR: Final = slice(1, 3)
FIELD_PRODUCT: Final = slice(3, None)
_DAY_S: Final = 86_400
_COUNT_SHIFT: Final = 40


def pack_sums_and_counts(sums: Sequence[Int32], counts: Sequence[int]) -> list[bytes]:
    """Accumulators without their stamps, 1,540 bytes each."""
    rows = np.empty(len(sums), _SUMS_AND_COUNT)
    rows["sums"], rows["count"] = sums, counts
    return _cut(rows.tobytes(), _SUMS_AND_COUNT.itemsize)


def pack_stamp(changed_us: int) -> bytes:
    """The last 8 bytes of an accumulator."""
    return changed_us.to_bytes(8, "big")


def unpack_accumulators(values: Sequence[bytes | None]) -> tuple[Int32, Int64, Int64]:
    """Sums (users, 384) int32, review counts (users,) and times of the last change (users,) in µs.

    They are zeros where there is no state.
    """
    heads = [value[:_HEAD_BYTES] if value else _EMPTY_ACCUMULATOR for value in values]
    rows = np.frombuffer(b"".join(heads), _ACCUMULATOR)
    return rows["sums"].astype(np.int32), rows["count"].astype(np.int64), rows["changed_us"].astype(np.int64)


def pack_als(vectors: Sequence[Float32]) -> list[bytes]:
    """ALS vectors, 256 bytes each."""
    return _cut(np.array(vectors, "<f4").tobytes(), 4 * ALS_DIM)


def pack_origin(origin: AlsOrigin) -> bytes:
    """What follows the stamp in an ALS record."""
    return _ORIGINS[origin]


def pack_als_record(vector: Float32, changed_us: int, origin: AlsOrigin) -> bytes:
    """A whole ALS record; `changed_us` is of the state that it was made from."""
    return vector.astype("<f4", copy=False).tobytes() + pack_stamp(changed_us) + _ORIGINS[origin]


def pack_products(product_ids: Iterable[str]) -> bytes:
    """What follows the stamp in an accumulator whose user has reviewed these products, in this order."""
    return bytes(_HEAD_BYTES - _STAMPED.itemsize) + b"\0".join([product_id.encode() for product_id in product_ids])


def unpack_products(accumulator: bytes) -> list[str]:
    """The products in an accumulator's list, sorted, each once."""
    words = accumulator[_HEAD_BYTES:]
    if _REMOVED in words:
        words = _live_words(words)
    product_ids = words.decode().split("\0") if words else []
    if len(product_ids) > 1:
        product_ids.sort()
    return product_ids


def _live_words(words: bytes) -> bytes:
    """A list of products without those that were removed."""
    live: dict[bytes, None] = {}
    for word in words.split(b"\0"):
        if word.startswith(_REMOVED):
            live.pop(word[1:], None)
        else:
            live[word] = None
    return b"\0".join(live)


def unpack_users(accumulators: Sequence[bytes | None], als: Sequence[bytes | None]) -> StoredUsers:
    """Columns from the accumulators and ALS records of many users."""
    sums, counts, changed_us = unpack_accumulators(accumulators)
    records = np.frombuffer(b"".join([value or _NO_ALS_HEAD for value in als]), _ALS_HEAD)
    # A stamp of 0 is no vector at all; any other must be that of the accumulator.
    stamps = records["stamp"]
    fresh = (stamps == changed_us) & (stamps > 0)
    return StoredUsers(
        sums=sums,
        counts=counts,
        changed_us=changed_us,
        als=records["vector"].astype(np.float32),
        als_origins=records["origin"] * fresh,  # MISSING is 0
        seen_product_ids=[unpack_products(value) if value else [] for value in accumulators],
    )


def _cut(packed: bytes, size: int) -> list[bytes]:
    return [packed[start : start + size] for start in range(0, len(packed), size)]


@dataclass(frozen=True)
class LogEntry:
    """A review in a user's log; `counted` in live popularity."""

    product_id: str
    micro_stars: int
    time_us: int
    counted: bool
    fixed_point: Int16


def pack_entry(
    product_id: str, rating: float, fixed_point: Int16, time_us: int, *, time_given: bool, digest: bytes = b""
) -> bytes:
    """A log entry.

    Args:
        product_id: product reviewed.
        rating: stars.
        fixed_point: (384,) int16.
        time_us: since 1970; of arrival if `time_given` is false.
        time_given: the author said when.
        digest: 16 bytes of :func:`content_digest`; empty for an imported review, of which only the vector is known.
    """
    flags = _TIME_GIVEN * time_given | _DIGEST_GIVEN * bool(digest)
    head = _ENTRY_HEAD.pack(flags, time_us, round(rating * MICRO_STARS), digest)
    return head + fixed_point_to_bytes(fixed_point) + product_id.encode()


def unpack_entry(entry: bytes) -> LogEntry:
    """What :func:`pack_entry` packed."""
    flags, time_us, micro_stars, _ = _ENTRY_HEAD.unpack_from(entry)
    vector = fixed_point_from_bytes(entry[_ENTRY_HEAD.size : _PRODUCT_AT], "log entry")
    return LogEntry(entry[_PRODUCT_AT:].decode(), micro_stars, time_us, bool(flags), vector)


def unpack_stars(pairs: Sequence[bytes]) -> dict[str, float]:
    """Product id → sum of the user's ratings, exact to the millionth, from the `seen` hash."""
    values = zip(pairs[::2], pairs[1::2], strict=True)
    return {product.decode(): int(value.partition(b":")[2]) / MICRO_STARS for product, value in values}


def unpack_seen_counts(pairs: Sequence[bytes]) -> dict[str, tuple[int, int]]:
    """Product id → reviews and sum of ratings in millionths of a star, from the `seen` hash."""
    values = ((product, value.split(b":")) for product, value in zip(pairs[::2], pairs[1::2], strict=True))
    return {product.decode(): (int(reviews), int(micro_stars)) for product, (reviews, micro_stars) in values}


@dataclass(frozen=True)
class OutboxEntry:
    """One review that came (`sign` 1) or was taken back (-1); `kind` is NAMED or ANONYMOUS."""

    sign: int
    kind: str
    time_us: int
    product: bytes


def unpack_outbox_entry(raw: bytes) -> OutboxEntry:
    """An outbox entry from its bytes."""
    sign, kind, time_us = _OUTBOX_HEAD.unpack_from(raw)
    return OutboxEntry(1 if sign == b"+" else -1, kind.decode(), time_us, raw[_OUTBOX_HEAD.size :])


def pack_outbox_tail(time_us: int, product_id: str) -> bytes:
    """What follows sign and kind in an outbox entry."""
    return time_us.to_bytes(8, "little", signed=True) + product_id.encode()


def popularity_field(kind: str, time_us: int, product: bytes) -> tuple[int, bytes]:
    """Day since 1970 and field of a review's counter."""
    day, second = divmod(time_us // 1_000_000, _DAY_S)
    return day, f"{kind}{second // 3600:02d}".encode() + product


def pack_change(time_us: int) -> int:
    """What one review adds to its counter: 2^40 for itself, plus the seconds since the beginning of its hour."""
    return (1 << _COUNT_SHIFT) + time_us // 1_000_000 % 3600


def unpack_change(packed: int) -> tuple[int, int]:
    """Reviews, and the sum of their seconds, of a counter or of a change of one; in a change either may be negative."""
    count = (packed + (1 << _COUNT_SHIFT - 1)) >> _COUNT_SHIFT
    return count, packed - (count << _COUNT_SHIFT)


def reviews_of_change(change: int) -> int:
    """How many reviews a change of a counter is about, at least 1: its seconds may have changed alone."""
    return max(1, round(abs(change) / (1 << _COUNT_SHIFT)))


def lua_constants(source: str) -> str:
    """Lua that declares the constants of the layouts that a script names."""
    names = _LUA_CONSTANTS.keys() & set(re.findall(r"\b[A-Z_]+\b", source))
    return "".join(f"local {name} = {_LUA_CONSTANTS[name]!r}\n" for name in sorted(names))


def _entry_ranges() -> dict[str, int]:
    """First and last byte of each field of a log entry."""
    ranges, fields = {}, "<"
    for name, code in _ENTRY_FIELDS.items():
        ranges[f"{name}_FIRST"] = struct.calcsize(fields) + 1
        fields += code
        ranges[f"{name}_LAST"] = struct.calcsize(fields)
    return ranges


_LUA_CONSTANTS: Final[dict[str, int | str]] = {
    "DIM": BERT_DIM,
    "HEAD_BYTES": _HEAD_BYTES,
    "STAMPED_BYTES": _STAMPED.itemsize,
    "ALS_BYTES": _ALS_HEAD.itemsize,
    "SMALL_LIST_BYTES": _SMALL_LIST_BYTES,
    "MAX_LIST_BYTES": MAX_LIST_BYTES,
    "KEPT_LIST_BYTES": KEPT_LIST_BYTES,
    "REMOVED_CODE": _REMOVED[0],
    "DIGEST_BYTES": struct.calcsize(_ENTRY_FIELDS["DIGEST"]),
    # As GETRANGE counts bytes: from 0.
    "STAMP_START": STAMP_RANGE[0],
    "STAMP_STOP": STAMP_RANGE[1],
    # As Lua counts bytes: from 1.
    "COUNT_FIRST": 4 * BERT_DIM + 1,
    **_entry_ranges(),
    "VECTOR_FIRST": _ENTRY_HEAD.size + 1,
    "PRODUCT_FIRST": _PRODUCT_AT + 1,
    # Formats of Lua's struct library, which names integers by their size.
    "SUMS": ">" + "i4" * BERT_DIM,
    "COUNT": ">I4",
    "REMOVED": ">I4",
    "STAMP": ">I4I4",  # a uint64 in two halves: Lua 5.1 has no 64-bit integers
    "VECTOR": "<" + "i2" * BERT_DIM,
    "TIME": "<i8",
    "HALVES_OF_TIME": "<I4i4",
    "TIME_BYTES": struct.calcsize(_ENTRY_FIELDS["TIME"]),
    "RATING": "<I4",
    # Codes.
    "TIME_GIVEN": _TIME_GIVEN,
    "DIGEST_GIVEN": _DIGEST_GIVEN,
    "KIND_NAMED": NAMED,
    "KIND_ANONYMOUS": ANONYMOUS,
    **{f"OUTCOME_{outcome.name}": outcome.value for outcome in Outcome},
}
