"""Users of a release, ``users/``: what the trainer knows of every user and the embedding service imports.

docs/formats/release.md describes the files. Columns hold one value per user or per review; a user's reviews are
contiguous and in time order.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from twotower.errors import ReleaseInvalid
from twotower.features import ALS_DIM, BERT_DIM, Float32, Int16, Int32, Int64

UNDATED: Final = int(np.iinfo(np.int64).max)
"""Time of a review whose date is not known: after all others."""
USERS: Final = "users"
USER_IDS: Final = f"{USERS}/user_ids.jsonl"
REVIEW_IDS: Final = f"{USERS}/review_ids.jsonl"
USER_ARRAYS: Final[dict[str, tuple[type, tuple[int, ...]]]] = {
    "review_offsets": (np.int64, ()),
    "products": (np.int32, ()),
    "ratings": (np.float32, ()),
    "times_us": (np.int64, ()),
    "fixed_point": (np.int16, (BERT_DIM,)),
    "als": (np.float32, (ALS_DIM,)),
}
"""Array → its dtype, and the shape of one of its rows."""


def user_array(name: str) -> str:
    """The file of an array of :data:`USER_ARRAYS`."""
    return f"{USERS}/{name}.npy"


@dataclass(frozen=True)
class ReleaseUsers:
    """Users and their reviews.

    Attributes:
        path: folder of the release.
        review_offsets: (users + 1,) int64, where each user's reviews start.
        products: (reviews,) int32 catalogue rows.
        ratings: (reviews,) float32 stars.
        times_us: (reviews,) int64 µs since 1970, or :data:`UNDATED`.
        fixed_point: (reviews, 384) int16 embeddings.
        als: (users, 64) float32, folded in from all reviews of each user.
    """

    path: Path
    review_offsets: Int64
    products: Int32
    ratings: Float32
    times_us: Int64
    fixed_point: Int16
    als: Float32

    def __len__(self) -> int:
        return len(self.review_offsets) - 1

    @classmethod
    def read(cls, path: Path, array: Callable[[str], NDArray[Any]]) -> Self:
        """Map the arrays of a release.

        Raises:
            ReleaseInvalid: they do not fit each other.
        """
        users = cls(path, **{name: array(user_array(name)) for name in USER_ARRAYS})
        reviews = {len(column) for column in (users.products, users.ratings, users.times_us, users.fixed_point)}
        if reviews != {int(users.review_offsets[-1])} or len(users.als) != len(users):
            raise ReleaseInvalid(f"{USERS}/: its arrays have different lengths")
        return users

    def reviews_of(self, user: int) -> slice:
        """Rows of a user's reviews."""
        return slice(int(self.review_offsets[user]), int(self.review_offsets[user + 1]))

    def user_ids(self) -> Iterator[str]:
        """Names, in order; read line by line."""
        return self._lines(USER_IDS)

    def review_ids(self) -> Iterator[str]:
        """Ids of the reviews, in order; read line by line."""
        return self._lines(REVIEW_IDS)

    def _lines(self, name: str) -> Iterator[str]:
        with (self.path / name).open(encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)
