"""Byte layouts, written out a second time by hand."""

import re
import struct
from importlib import resources

import numpy as np
from hypothesis import given
from hypothesis.extra import numpy as hnp

from embedding_service.ports import AlsOrigin
from embedding_service.redis_store.client import Script
from embedding_service.redis_store.layouts import (
    pack_als_record,
    pack_entry,
    pack_products,
    pack_stamp,
    pack_sums_and_counts,
    unpack_accumulators,
    unpack_stars,
    unpack_users,
)

SUMS = np.arange(-192, 192, dtype=np.int32) * 5_000_000
ALS = np.linspace(-1, 1, 64, dtype=np.float32)


def test_a_log_entry_is_that_of_the_document() -> None:
    vector = np.arange(384, dtype=np.int16) - 200
    entry = pack_entry("prödukt", 4.5, vector, -5, time_given=True, digest=b"0123456789abcdef")
    flags, time_us, micro_stars, digest = struct.unpack("<BqI16s", entry[:29])
    assert (flags, time_us, micro_stars, digest) == (3, -5, 4_500_000, b"0123456789abcdef")
    assert struct.unpack("<384h", entry[29:797]) == tuple(vector)
    assert entry[797:].decode() == "prödukt"
    assert pack_entry("p", 4.5, vector, 0, time_given=False)[0] == 0


def test_columns_come_back_and_a_stale_vector_is_missing() -> None:
    other, first = pack_sums_and_counts([SUMS[::-1], SUMS], [1, 65_538])
    assert struct.unpack(">384iI", other) == (*SUMS[::-1], 1)
    accumulator = first + pack_stamp(1_700_000_000_000_001) + pack_products(["b", "ä", "a"])
    assert accumulator[1548:] == b"\0\0\0\0" + "b\0ä\0a".encode()
    assert struct.unpack(">384i", accumulator[:1536]) == tuple(SUMS)
    fresh = pack_als_record(ALS, 1_700_000_000_000_001, AlsOrigin.TRAINED)
    stale = pack_als_record(ALS, 1_700_000_000_000_000, AlsOrigin.TRAINED)
    assert len(fresh) == 265
    users = unpack_users([accumulator, None, accumulator, accumulator], [fresh, None, stale, None])
    np.testing.assert_array_equal(users.sums[0], SUMS)
    np.testing.assert_array_equal(users.sums[1], np.zeros(384))
    assert users.counts.tolist() == [65_538, 0, 65_538, 65_538]
    assert users.changed_us.tolist() == [1_700_000_000_000_001, 0, 1_700_000_000_000_001, 1_700_000_000_000_001]
    np.testing.assert_array_equal(users.als[0], ALS)
    assert users.als_origins.tolist() == [AlsOrigin.TRAINED, AlsOrigin.MISSING, AlsOrigin.MISSING, AlsOrigin.MISSING]
    assert users.seen_product_ids == [["a", "b", "ä"], [], ["a", "b", "ä"], ["a", "b", "ä"]]


@given(hnp.arrays(np.int32, 384))
def test_an_accumulator_is_big_endian_int32(sums: np.ndarray) -> None:
    [data] = pack_sums_and_counts([sums], [7])
    assert data[:1536] == struct.pack(">384i", *sums.tolist())
    unpacked, counts, _ = unpack_accumulators([data + pack_stamp(1) + pack_products([]), None])
    assert np.array_equal(unpacked[0], sums)
    assert counts.tolist() == [7, 0]
    assert not unpacked[1].any()


def test_the_scripts_have_the_positions_of_the_document() -> None:
    script = Script("import_user")
    declared = dict(re.findall(r"^local ([A-Z_]+) = (\d+)$", script.source, re.MULTILINE))
    expected = {"DIM": 384, "STAMP_START": 1540, "STAMP_STOP": 1547, "COUNT_FIRST": 1537, "HEAD_BYTES": 1552}
    expected |= {"SMALL_LIST_BYTES": 2048, "MAX_LIST_BYTES": 2**21, "KEPT_LIST_BYTES": 3 * 2**19, "REMOVED_CODE": 255}
    expected |= {"FLAGS_FIRST": 1, "TIME_FIRST": 2, "TIME_LAST": 9, "RATING_FIRST": 10, "RATING_LAST": 13}
    expected |= {"DIGEST_FIRST": 14, "DIGEST_LAST": 29, "VECTOR_FIRST": 30, "PRODUCT_FIRST": 798}
    expected |= {"TIME_GIVEN": 1, "DIGEST_GIVEN": 2, "DIGEST_BYTES": 16, "TIME_BYTES": 8}
    assert {name: int(number) for name, number in declared.items()} == expected


def test_no_position_stands_in_a_script() -> None:
    folder = resources.files("embedding_service.redis_store") / "lua"
    for file in folder.iterdir():
        numbers = set(re.findall(r"\b\d{3,}\b", file.read_text(encoding="utf-8")))
        assert numbers <= {"1000", "999", "0009", "86400", "1000000", "10000"}, file.name


def test_stars_are_sums_without_the_count() -> None:
    assert unpack_stars([b"p1", b"2:9500000", "ü".encode(), b"1:0"]) == {"p1": 9.5, "ü": 0.0}
