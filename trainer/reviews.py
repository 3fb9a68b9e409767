"""Cleaned reviews: what every later stage of the trainer works on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trainer.cleaning import CleaningOptions, CleaningReport, clean
from trainer.sources import SourceOptions, read_source
from twotower.features import Float32, Int32, Int64

UNDATED: Final = int(np.iinfo(np.int64).max)
"""Time of a review without a readable date: after all others."""


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
    """All reviews of a file, one row each, ordered by (time, review id, user id).

    Users and products are numbered by first appearance in that order, so what comes later never changes a number.

    Attributes:
        review_ids: ids, unique for each user.
        user: (rows,) int32 index into `user_ids`.
        product: (rows,) int32 index into `products`.
        rating: (rows,) float32 stars, 0 to 5.
        time_us: (rows,) int64 microseconds since 1970, UTC; :data:`UNDATED` where the file has no readable date.
        titles: filled.
        texts: filled.
        user_ids: names as the file has them, filled.
        anonymous: (users,) bool, names that strangers share.
        products: from the first row of each product.
        sha256: of the file's uncompressed bytes.
    """

    review_ids: list[str]
    user: Int32
    product: Int32
    rating: Float32
    time_us: Int64
    titles: list[str]
    texts: list[str]
    user_ids: list[str]
    anonymous: NDArray[np.bool_]
    products: list[ProductText]
    sha256: str

    def __len__(self) -> int:
        return len(self.review_ids)

    @property
    def dated(self) -> NDArray[np.bool_]:
        """(rows,) bool: whether the review has a date."""
        return np.asarray(self.time_us != UNDATED)


def training_rows(reviews: Reviews, validation_fraction: float) -> int:
    """Rows of the training period: all but the last `validation_fraction` in time order, at least one."""
    return max(1, len(reviews) - int(len(reviews) * validation_fraction))


def read_reviews(path: Path, options: CleaningOptions, source: SourceOptions | None = None) -> tuple[Reviews, CleaningReport]:
    """Read, clean and order a review file.

    Raises:
        InvalidFile: see :func:`trainer.sources.read_source` and :func:`trainer.cleaning.clean`.
    """
    import pandas as pd

    raw = read_source(path, source or SourceOptions())
    frame, report = clean(path, raw, options)
    user, user_ids = pd.factorize(frame["user_id"])
    product, _ = pd.factorize(frame["product_id"])
    first = frame.loc[~frame["product_id"].duplicated(), ["product_id", "name", "brand", "categories", "manufacturer"]]
    names = [str(name) for name in user_ids]
    reviews = Reviews(
        review_ids=frame["review_id"].tolist(),
        user=user.astype(np.int32),
        product=product.astype(np.int32),
        rating=frame["rating"].to_numpy(np.float32),
        time_us=frame["time_us"].to_numpy(np.int64),
        titles=frame["title"].tolist(),
        texts=frame["text"].tolist(),
        user_ids=names,
        anonymous=np.array([options.is_anonymous(name) for name in names], bool),
        products=[ProductText(*row) for row in first.itertuples(index=False)],
        sha256=raw.sha256,
    )
    return reviews, report
