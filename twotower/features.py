"""User and product features: names, dimensions, text templates, fixed point and the exact running mean.

Training and serving both import this module, so a feature has one definition.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from twotower.errors import FieldViolation, InvalidArgument

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int16 = NDArray[np.int16]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]

ALS_DIM: Final = 64
BERT_DIM: Final = 384
TOWER_DIM: Final = 64

USER_ALS_INPUT: Final = "user_ALS_Embedding"
USER_BERT_INPUT: Final = "user_BERT_Embedding"
IS_ANONYMOUS_INPUT: Final = "is_anonymous_user"
PRODUCT_ALS_INPUT: Final = "product_ALS_Embedding"
PRODUCT_BERT_INPUT: Final = "product_BERT_Embedding"
USER_INPUTS: Final = {USER_ALS_INPUT: ALS_DIM, USER_BERT_INPUT: BERT_DIM, IS_ANONYMOUS_INPUT: 1}
"""Keras inputs of a user and their widths, in the order of a user row. Users own models saved under these names."""
PRODUCT_INPUTS: Final = {PRODUCT_ALS_INPUT: ALS_DIM, PRODUCT_BERT_INPUT: BERT_DIM}
"""Keras inputs of a product and their widths, in the order of a product row."""
USER_DIM: Final = sum(USER_INPUTS.values())
"""449, the width of a user row."""
PRODUCT_DIM: Final = sum(PRODUCT_INPUTS.values())
"""448, the width of a product row."""
ALS_COLUMNS: Final = slice(0, ALS_DIM)
"""Where the ALS vector is in a user row and in a product row."""
BERT_COLUMNS: Final = slice(ALS_DIM, ALS_DIM + BERT_DIM)
"""Where the text embedding is in a user row (the running mean) and in a product row."""
USER_TOWER_OUTPUT: Final = "User_Tower_Output"
PRODUCT_TOWER_OUTPUT: Final = "Product_Tower_Output"
FINAL_OUTPUT: Final = "Final_Output"

NO_TITLE: Final = "No Title"
NO_TEXT: Final = "No Review"
DEFAULT_USERNAME: Final = "Akshat"
ANONYMOUS_NAMES: Final = ("Anonymous", "An anonymous customer", "ByAmazon Customer")
MIN_RATING: Final = 0.0
MAX_RATING: Final = 5.0
MAX_ID_BYTES: Final = 256

_CATEGORY_END: Final = re.compile(r",(?!\s)")

TEXT_TEMPLATE_VERSION: Final = 1
"""Part of the encoder id: another template is another embedding space."""

FIXED_POINT_SCALE: Final = 32767
"""Largest int16, so that a unit vector's element of exactly 1 fits."""
MAX_REVIEWS_PER_USER: Final = (2**31 - 1) // FIXED_POINT_SCALE
"""65,538: up to here no element of an int32 accumulator can overflow."""


def review_text(title: str, text: str) -> str:
    """Text of a review as the encoder sees it: title, a space, text; blanks are filled."""
    return f"{title.strip() or NO_TITLE} {text.strip() or NO_TEXT}"


def product_text(name: str, brand: str, categories: str, manufacturer: str) -> str:
    """Text of a product as the encoder sees it: name, brand, categories, manufacturer; blanks leave no double space."""
    return " ".join(part.strip() for part in (name, brand, categories, manufacturer) if part.strip())


def split_categories(categories: str) -> list[str]:
    """Names of comma-separated categories; a comma before a blank belongs to a name (``Clothing, Shoes & Jewelry``)."""
    return _CATEGORY_END.split(categories)


def joined_categories(names: Iterable[str]) -> str:
    """Comma-separated categories that :func:`split_categories` takes apart again; repeats are left out."""
    return ",".join(dict.fromkeys(_CATEGORY_END.sub(", ", name.strip().rstrip(",")) for name in names))


def anonymous_keys(names: Iterable[str]) -> frozenset[str]:
    """The set that :func:`is_anonymous` compares with."""
    return frozenset(name.strip().casefold() for name in names)


def is_anonymous(user_id: str, keys: frozenset[str]) -> bool:
    """Whether the name is shared by strangers and so never accumulates state; compared without case or outer blanks."""
    return user_id.strip().casefold() in keys


def id_problem(value: str) -> str | None:
    """Why `value` can't be a user, product or review id; None if it can: 1 to 256 bytes of UTF-8, no NUL."""
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        return "must be valid UTF-8"
    if not 1 <= size <= MAX_ID_BYTES:
        return f"must be 1 to {MAX_ID_BYTES} bytes of UTF-8, got {size}"
    return "must not contain NUL" if "\0" in value else None


def quantize(vectors: Float32) -> Int16:
    """Round unit vectors to fixed point, once and for all.

    Args:
        vectors: (..., 384) float32, each of Euclidean length 1 (tolerance 1e-3).

    Returns:
        (..., 384) int16, ``round_half_even(vectors * 32767)``; the cosine to the input stays above 0.9999999.

    Raises:
        InvalidArgument: a vector is not finite or not of unit length.
    """
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=-1)
    if not np.all(np.abs(lengths - 1.0) <= 1e-3):  # also false for NaN
        raise InvalidArgument([FieldViolation("vectors", "each must be finite and of Euclidean length 1 within 0.001")])
    return np.rint(vectors.astype(np.float64) * FIXED_POINT_SCALE).astype(np.int16)


def dequantize(fixed_point: Int16) -> Float32:
    """The float32 vector that a fixed-point one stands for; ``round(dequantize(x) * 32767) == x`` exactly."""
    return (fixed_point.astype(np.float64) / FIXED_POINT_SCALE).astype(np.float32)


def running_mean(sums: Int32 | Int64, counts: int | Int64 | Int32) -> Float32:
    """Mean embedding from integer sums.

    The sum is exact and the division is done once in float64, so any two parties that hold the same reviews get the
    same 32 bits an element, whatever the order in which the reviews arrived.

    Args:
        sums: (..., 384) integer sums of fixed-point vectors.
        counts: (...) how many vectors each sum holds, at least 1.

    Returns:
        (..., 384) float32, ``sums / (counts * 32767)``.
    """
    divisor = np.asarray(counts, dtype=np.float64) * FIXED_POINT_SCALE
    return (sums.astype(np.float64) / divisor[..., np.newaxis]).astype(np.float32)


def exclusive_sums(fixed_point: Int16, group_starts: Sequence[int] | Int64) -> Int32:
    """Sum of the earlier rows of the same group, for every row.

    Args:
        fixed_point: (rows, 384) int16, groups contiguous and each in time order; no group longer than 65,538 rows.
        group_starts: (groups,) index of each group's first row, ascending, the first 0.

    Returns:
        (rows, 384) int32; zeros for the first row of a group.
    """
    rows = len(fixed_point)
    starts = np.asarray(group_starts, dtype=np.int64)
    lengths = np.diff(starts, append=rows)
    if rows and lengths.max() > MAX_REVIEWS_PER_USER:
        raise InvalidArgument(
            [FieldViolation("reviews", f"a user has {lengths.max()} reviews, the limit is {MAX_REVIEWS_PER_USER}")]
        )
    # Sums modulo 2^32 are exact differences as long as the true difference fits int32, which the length check ensures.
    inclusive = np.cumsum(fixed_point, axis=0, dtype=np.uint32) if rows else np.zeros((0, BERT_DIM), np.uint32)
    exclusive = np.zeros_like(inclusive)
    exclusive[1:] = inclusive[:-1]
    return (exclusive - np.repeat(exclusive[starts], lengths, axis=0)).view(np.int32)


def user_rows(als: Float32, bert_mean: Float32, anonymous: NDArray[np.bool_] | bool) -> Float32:
    """Concatenate user features in the order that the user tower takes them.

    Args:
        als: (batch, 64) float32.
        bert_mean: (batch, 384) float32.
        anonymous: (batch,) bool.

    Returns:
        (batch, 449) float32.
    """
    flag = np.broadcast_to(np.asarray(anonymous, np.float32), als.shape[:1])[:, np.newaxis]
    return np.concatenate([als, bert_mean, flag], axis=1, dtype=np.float32)


def cold_rows(global_mean: Float32, anonymous: Sequence[bool] | NDArray[np.bool_] = (False,)) -> Float32:
    """Build the rows of users without a history: no ALS vector, and the mean review embedding of all users.

    Args:
        global_mean: (384,) float32.
        anonymous: (users,) bool, whether each is an anonymous name.

    Returns:
        (users, 449) float32; one row for a named user by default.
    """
    users = len(anonymous)
    means = np.broadcast_to(global_mean, (users, BERT_DIM))
    return user_rows(np.zeros((users, ALS_DIM), np.float32), means, np.asarray(anonymous, bool))


def product_rows(als: Float32, bert: Float32) -> Float32:
    """Concatenate product features, (products, 64) and (products, 384), to (products, 448) float32."""
    return np.concatenate([als, bert], axis=1, dtype=np.float32)
