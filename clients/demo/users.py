"""The users for whom the demo asks."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from twotower.errors import ReleaseInvalid
from twotower.features import DEFAULT_USERNAME, anonymous_keys, is_anonymous
from twotower.release import Product, Release
from twotower.release_users import USER_IDS

NEWCOMER: Final = "demo-newcomer"


@dataclass(frozen=True)
class DemoUsers:
    """The users of the demo, and the product that the cold one is going to review.

    Attributes:
        warm: the user with most reviews in the release, save for the name that stands in where a review has none.
        cold: a name that is not in the release.
        anonymous: a name that many people share.
        product: the most reviewed product.
        product_count: products in the catalogue.
    """

    warm: str
    cold: str
    anonymous: str
    product: Product
    product_count: int


def choose_users(release: Release) -> DemoUsers:
    """Choose the demo's users from those of a release.

    Raises:
        ReleaseInvalid: the release has no user with reviews, or no anonymous names.
    """
    names = release.manifest.anonymous_names
    keys = anonymous_keys(names)
    user_ids, review_counts = list(release.users.user_ids()), np.diff(release.users.review_offsets)
    ranked = [user_ids[row] for row in np.argsort(-review_counts, kind="stable").tolist()]
    warm = next((user for user in ranked if user != DEFAULT_USERNAME and not is_anonymous(user, keys)), None)
    if warm is None or not names:
        raise ReleaseInvalid(f"{USER_IDS}: the demo needs a user with reviews and an anonymous name")
    taken = set(user_ids)
    cold = next(name for name in (NEWCOMER, *(f"{NEWCOMER}-{i}" for i in range(len(taken) + 1))) if name not in taken)
    product = max(release.catalogue, key=lambda candidate: candidate.review_count)
    return DemoUsers(warm, cold, names[0], product, len(release.catalogue))
