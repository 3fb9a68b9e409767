"""User names that many people seem to share: as one user they would be a stranger to everybody."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from trainer.data.columns import Strings
from trainer.data.files import refused
from twotower.features import MAX_REVIEWS_PER_USER, Int32, Int64
from twotower.release_users import UNDATED

_DAY_US: Final = 86_400_000_000
_PRODUCTS_A_DAY: Final = 20
_REVIEWS: Final = 100
_TIMES_THE_NEXT: Final = 5
_SHOWN: Final = 5


@dataclass(frozen=True)
class SharedName:
    """A name that may be several people's.

    Attributes:
        name: the user's.
        reviews: how many it has.
        products_a_day: the most products that it reviewed on one day; 0 without dates.
    """

    name: str
    reviews: int
    products_a_day: int

    def __str__(self) -> str:
        a_day = f", of up to {self.products_a_day:,} products on one day" if self.products_a_day > 1 else ""
        return (
            f"{self.name!r} has {self.reviews:,} reviews{a_day}: if many people share the name, "
            f"add --anonymous-name {self.name!r}"
        )


def shared_names(
    user: Int32, product: Int32, time_us: Int64, anonymous: NDArray[np.bool_], names: Strings
) -> list[SharedName]:
    """Names that several people may have, those with the most reviews first, at most five.

    A name is one if on some day it reviewed 20 products or more, or if it has 100 reviews or more and five times as
    many as 99.9 % of the users.
    """
    counts = np.bincount(user, minlength=len(names))
    days = _products_a_day(user, product, time_us, len(names))
    usual = np.quantile(counts, 0.999) if len(counts) > 1000 else np.median(counts)
    many = (counts >= _REVIEWS) & (counts >= _TIMES_THE_NEXT * usual)
    found = np.flatnonzero(((days >= _PRODUCTS_A_DAY) | many) & ~anonymous)
    found = found[np.argsort(-counts[found], kind="stable")][:_SHOWN]
    return [SharedName(names[row], int(counts[row]), int(days[row])) for row in found.tolist()]


def _products_a_day(user: Int32, product: Int32, time_us: Int64, users: int) -> Int64:
    """The most distinct products that each user reviewed on one day, (users,) int64."""
    dated = np.flatnonzero(time_us != UNDATED)
    most = np.zeros(users, np.int64)
    if not len(dated):
        return most
    day = time_us[dated] // _DAY_US
    triples = np.unique(np.stack([user[dated], day - day.min(), product[dated]]), axis=1)
    pairs, counts = np.unique(triples[:2], axis=1, return_counts=True)
    np.maximum.at(most, pairs[0], counts)
    return most


def too_many_reviews(path: Path | str, user: Int32, anonymous: NDArray[np.bool_], names: Strings) -> None:
    """Refuse a user with more reviews than one can have.

    Raises:
        InvalidFile: naming the users and what to do.
    """
    counts = np.where(anonymous, 0, np.bincount(user, minlength=len(names)))
    over = np.flatnonzero(counts > MAX_REVIEWS_PER_USER)
    if len(over):
        said = ", ".join(f"{names[row]!r} has {counts[row]:,}" for row in over[:_SHOWN].tolist())
        options = " ".join(f"--anonymous-name {names[row]!r}" for row in over[:_SHOWN].tolist())
        raise refused(
            path,
            "reviews.username",
            f"must have at most {MAX_REVIEWS_PER_USER:,} reviews, {said}; if many people share the name: {options}",
        )
