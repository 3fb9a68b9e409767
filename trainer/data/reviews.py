"""Cleaned reviews: what every later stage of the trainer works on."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.data.cleaning import CleaningOptions, CleaningReport, CleanRows, clean
from trainer.data.columns import Repeated, Strings
from trainer.data.sources import SourceOptions, read_source
from twotower.features import Float32, Int32, Int64
from twotower.release_users import UNDATED


@dataclass(frozen=True)
class ProductText:
    """What a file says of a product; blanks where it says nothing."""

    product_id: str
    name: str
    brand: str
    categories: str
    manufacturer: str


@dataclass(frozen=True)
class Reviews:
    """All reviews of a file, ordered by (time, review id, user id), without a Python object per row.

    Users and products are numbered by first appearance in that order, so what comes later never changes a number.

    Attributes:
        review_ids: ids, unique for each user.
        user: (rows,) int32 index into `user_ids`.
        product: (rows,) int32 index into `products`.
        rating: (rows,) float32 stars, 0 to 5.
        time_us: (rows,) int64 microseconds since 1970, UTC; :data:`UNDATED` where the file has no readable date.
        titles: as the file has them, blanks filled.
        texts: the same.
        user_ids: the same, the names of the authors.
        anonymous: (users,) bool, whether the name stands for anybody.
        products: what the first row of each says.
        sha256: of the file's uncompressed bytes.
    """

    review_ids: Strings
    user: Int32
    product: Int32
    rating: Float32
    time_us: Int64
    titles: Repeated
    texts: Repeated
    user_ids: Strings
    anonymous: NDArray[np.bool_]
    products: list[ProductText]
    sha256: str

    def __len__(self) -> int:
        return len(self.review_ids)

    @property
    def dated(self) -> NDArray[np.bool_]:
        """Whether each review has a date: (rows,) bool."""
        return np.asarray(self.time_us != UNDATED)

    def period(self) -> tuple[datetime, datetime] | None:
        """Times of the first and the last dated review, UTC; None if no review is dated."""
        dated = self.time_us[self.dated]
        if not len(dated):
            return None
        first, last = (datetime.fromtimestamp(time_us / 1e6, UTC) for time_us in dated[[0, -1]].tolist())
        return first, last


def training_rows(reviews: Reviews, validation_fraction: float) -> int:
    """How many rows the training period has: all but the last `validation_fraction` in time order, at least one."""
    return max(1, len(reviews) - int(len(reviews) * validation_fraction))


def read_reviews(
    path: Path, options: CleaningOptions, source: SourceOptions | None = None
) -> tuple[Reviews, CleaningReport]:
    """Read, clean and order a review file.

    Raises:
        InvalidFile: see :func:`trainer.data.sources.read_source` and :func:`trainer.data.cleaning.clean`.
    """
    raw = read_source(path, source or SourceOptions())
    rows, report = clean(path, raw, options)
    user, users = number_by_appearance(rows.user_id.code)
    product, products = number_by_appearance(rows.product_id.code)
    user_ids = rows.user_id.distinct.take(users)
    reviews = Reviews(
        review_ids=rows.review_id,
        user=user,
        product=product,
        rating=rows.rating,
        time_us=rows.time_us,
        titles=rows.title,
        texts=rows.text,
        user_ids=user_ids,
        anonymous=user_ids.test(options.is_anonymous),
        products=_products(rows, product, len(products)),
        sha256=raw.sha256,
    )
    return reviews, report


def number_by_appearance(values: Int32) -> tuple[Int32, Int32]:
    """Number values by first appearance.

    Returns:
        The number of each row's value, (rows,) int32; and the value of each number, (distinct,) int32.
    """
    import pandas as pd

    number, distinct = pd.factorize(values)
    return number.astype(np.int32), np.asarray(distinct, np.int32)


def _products(rows: CleanRows, product: Int32, count: int) -> list[ProductText]:
    """What the first row of each product says."""
    first = np.zeros(count, np.int64)
    first[product[::-1]] = np.arange(len(product))[::-1]
    columns = (rows.product_id, rows.name, rows.brand, rows.categories, rows.manufacturer)
    return [ProductText(*texts) for texts in zip(*(column.take(first) for column in columns), strict=True)]
