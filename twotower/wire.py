"""Vectors and fixed-point embeddings to the bytes that the API and the store have of them, and back."""

import numpy as np

from twotower.errors import FieldViolation, InvalidArgument
from twotower.features import BERT_DIM, Float32, Int16
from twotower.v1 import types_pb2


def to_vector(array: Float32) -> types_pb2.Vector:
    """A float32 array (dim,) as a ``Vector``."""
    return types_pb2.Vector(values=array.astype("<f4", copy=False).tobytes(), dimension=array.shape[0])


def from_vector(vector: types_pb2.Vector, dimension: int, field: str) -> Float32:
    """A ``Vector`` as a read-only float32 array (dimension,).

    Raises:
        InvalidArgument: naming `field`, if the dimension or the byte length is wrong or an element is not finite.
    """
    if vector.dimension != dimension or len(vector.values) != 4 * dimension:
        found = f"dimension {vector.dimension} in {len(vector.values)} bytes"
        raise InvalidArgument(
            [FieldViolation(field, f"must be {dimension} float32 values ({4 * dimension} bytes), got {found}")]
        )
    array = np.frombuffer(vector.values, "<f4")
    if not np.isfinite(array).all():
        raise InvalidArgument([FieldViolation(field, "must be finite")])
    return array


def fixed_point_to_bytes(fixed_point: Int16) -> bytes:
    """A fixed-point vector (384,) int16 as 768 little-endian bytes."""
    return fixed_point.astype("<i2", copy=False).tobytes()


def fixed_point_from_bytes(data: bytes, field: str) -> Int16:
    """768 little-endian bytes as a read-only (384,) int16.

    Raises:
        InvalidArgument: naming `field`, if the length is wrong.
    """
    if len(data) != 2 * BERT_DIM:
        raise InvalidArgument([FieldViolation(field, f"must be {2 * BERT_DIM} bytes, got {len(data)}")])
    return np.frombuffer(data, "<i2")
