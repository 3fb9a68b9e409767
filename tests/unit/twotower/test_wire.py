"""Arrays as the bytes of the API."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from twotower import wire
from twotower.errors import InvalidArgument
from twotower.features import BERT_DIM
from twotower.v1 import types_pb2


@given(hnp.arrays(np.float32, 64, elements=st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_a_vector_is_little_endian_float32(array: np.ndarray) -> None:
    vector = wire.to_vector(array)
    assert vector.values == struct.pack("<64f", *array.tolist())
    assert np.array_equal(wire.from_vector(vector, 64, "als"), array)


@pytest.mark.parametrize(
    "vector",
    [
        types_pb2.Vector(values=bytes(8), dimension=3),
        types_pb2.Vector(values=bytes(11), dimension=3),
        types_pb2.Vector(values=bytes(16), dimension=4),
        types_pb2.Vector(),
    ],
)
def test_a_vector_of_another_size_is_refused(vector: types_pb2.Vector) -> None:
    with pytest.raises(InvalidArgument, match=r"^als: must be 3 float32 values \(12 bytes\)"):
        wire.from_vector(vector, 3, "als")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_vector_must_be_finite(value: float) -> None:
    with pytest.raises(InvalidArgument, match="als: must be finite"):
        wire.from_vector(types_pb2.Vector(values=struct.pack("<2f", 1, value), dimension=2), 2, "als")


@given(hnp.arrays(np.int16, BERT_DIM))
def test_fixed_point_is_little_endian_int16(fixed: np.ndarray) -> None:
    data = wire.fixed_point_to_bytes(fixed)
    assert data == struct.pack(f"<{BERT_DIM}h", *fixed.tolist())
    assert np.array_equal(wire.fixed_point_from_bytes(data, "x"), fixed)


def test_fixed_point_of_another_length_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"users\[1\].fixed_point: must be 768 bytes, got 767"):
        wire.fixed_point_from_bytes(bytes(767), "users[1].fixed_point")
