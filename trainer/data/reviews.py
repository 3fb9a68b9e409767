"""Cleaned reviews: what every later stage of the trainer works on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.data.cleaning import CleaningOptions, CleaningReport, clean
from trainer.data.columns import Repeated, Strings
from trainer.data.dates import moment
from trainer.data.files import refused
from trainer.data.raw import SourceOptions
from trainer.data.shared_names import shared_names, too_many_reviews
from trainer.data.sources import read_source
from twotower.features import ANONYMOUS_NAMES, Float32, Int32, Int64, anonymous_keys, is_anonymous
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
        products: what most rows of each say.
        sha256: of the file's unpacked bytes.
        anonymous_names: the names that stand for anybody.
        said: name, brand, categories and manufacturer as each row has them, for :meth:`products_of`.
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
    anonymous_names: tuple[str, ...] = ANONYMOUS_NAMES
    said: tuple[Repeated, ...] = ()

    def __len__(self) -> int:
        return len(self.review_ids)

    def products_of(self, rows: int) -> list[ProductText]:
        """What most of the first `rows` rows say of each product; of a product that comes later, what all say."""
        if not self.said:
            return self.products
        known = np.arange(rows)
        texts = _products(
            [text.product_id for text in self.products],
            self.product[:rows],
            [column.take(known) for column in self.said],
        )
        seen = np.bincount(self.product[:rows], minlength=len(self.products)) > 0
        return [
            text if is_seen else later for text, later, is_seen in zip(texts, self.products, seen.tolist(), strict=True)
        ]

    @property
    def dated(self) -> NDArray[np.bool_]:
        """Whether each review has a date: (rows,) bool."""
        return np.asarray(self.time_us != UNDATED)

    def period(self) -> tuple[datetime, datetime] | None:
        """Times of the first and the last dated review, UTC; None if no review is dated."""
        dated = self.time_us[self.dated]
        if not len(dated):
            return None
        first, last = (moment(time_us) for time_us in dated[[0, -1]].tolist())
        return first, last


def training_rows(reviews: Reviews, validation_fraction: float) -> int:
    """How many rows the training period has: all but the last `validation_fraction` in time order, at least one."""
    return max(1, len(reviews) - int(len(reviews) * validation_fraction))


def check_order(reviews: Reviews, paths: Sequence[Path]) -> None:
    """Refuse reviews without an order in time, for what compares earlier with later ones.

    Raises:
        InvalidFile: no review has a date.
    """
    if not reviews.dated.any():
        message = (
            "no row has a date that is read, so there is no earlier and no later: a temporal evaluation needs both"
        )
        raise refused(", ".join(map(str, paths)), "reviews.date", f"{message} (--column date=…, --date-format)")


def read_reviews(
    paths: Path | Sequence[Path], options: CleaningOptions, source: SourceOptions | None = None
) -> tuple[Reviews, CleaningReport]:
    """Read, clean and order review files; a folder means the files in it.

    Raises:
        InvalidFile: see :func:`trainer.data.sources.read_source` and :func:`trainer.data.cleaning.clean`.
    """
    source = source or SourceOptions()
    raw = read_source(paths, source)
    called = str(paths) if isinstance(paths, Path) else ", ".join(map(str, paths))
    rows, report, anonymous_names = clean(called, raw, options, source)
    user, users = number_by_appearance(rows.user_id.code)
    product, products = number_by_appearance(rows.product_id.code)
    user_ids = rows.user_id.distinct.take(users)
    keys = anonymous_keys(anonymous_names)
    said = (rows.name, rows.brand, rows.categories, rows.manufacturer)
    reviews = Reviews(
        review_ids=rows.review_id,
        user=user,
        product=product,
        rating=rows.rating,
        time_us=rows.time_us,
        titles=rows.title,
        texts=rows.text,
        user_ids=user_ids,
        anonymous=user_ids.test(lambda name: is_anonymous(name, keys)),
        products=_products(rows.product_id.distinct.take(products)[:], product, said),
        sha256=raw.sha256,
        anonymous_names=anonymous_names,
        said=said,
    )
    too_many_reviews(called, reviews.user, reviews.anonymous, user_ids)
    shared = shared_names(reviews.user, reviews.product, reviews.time_us, reviews.anonymous, user_ids)
    return reviews, replace(report, notes=(*report.notes, *map(str, shared)))


def number_by_appearance(values: Int32) -> tuple[Int32, Int32]:
    """Number values by first appearance.

    Returns:
        The number of each row's value, (rows,) int32; and the value of each number, (distinct,) int32.
    """
    import pandas as pd

    number, distinct = pd.factorize(values)
    return number.astype(np.int32), np.asarray(distinct, np.int32)


def _products(ids: Sequence[str], product: Int32, said: Sequence[Repeated]) -> list[ProductText]:
    """What most rows say of each product, blanks aside; a product without a name is called by its id."""
    fields = [_most_frequent(product, column, len(ids)) for column in said]
    return [
        ProductText(product_id, name if name.strip() else product_id, *others)
        for product_id, name, *others in zip(ids, *fields, strict=True)
    ]


def _most_frequent(product: Int32, column: Repeated, count: int) -> list[str]:
    """The value that most rows of each product have, blanks aside; of several, the one that comes first."""
    blank = column.distinct.test(lambda value: not value.strip())
    rows = np.flatnonzero(~blank[column.code])
    pairs, first, times = np.unique(
        product[rows].astype(np.int64) * len(blank) + column.code[rows], return_index=True, return_counts=True
    )
    owner, value = np.divmod(pairs, len(blank))
    values = np.full(count, -1, np.int64)
    best = np.lexsort((-first, times))
    # Of several assignments to one place the last stays: the most frequent, and of those the first.
    values[owner[best]] = value[best]
    texts = iter(column.distinct.take(values[values >= 0])[:])
    return [next(texts) if number >= 0 else "" for number in values.tolist()]
