"""Answers of a bounded size: what a user has reviewed is as long as the user likes, and one message carries so much."""

import logging
from collections.abc import Sequence
from typing import Final

from embedding_service.usecases.users import Features
from twotower.errors import FieldViolation, InvalidArgument

MAX_SEEN_BYTES: Final = 32 * 2**20
"""Of all ids in an answer: half of what a message may have."""
_SURELY_SMALL: Final = 100_000
"""Ids, of at most 256 bytes, that are less than that."""
_ID_OVERHEAD: Final = 3
_LOG = logging.getLogger(__name__)


def seen_in_answer(features: Features, most: int = MAX_SEEN_BYTES) -> Sequence[Sequence[str]]:
    """Products that the users have reviewed, user by user, as many as an answer holds.

    Where they are too many, the longest lists are cut, all to the same length, and their products of the catalogue come
    first: only these can be recommended. Other users' lists stay whole.

    Raises:
        InvalidArgument: they are too many because users are named more than once.
    """
    lists = features.seen_product_ids
    if features.counts.sum() <= min(_SURELY_SMALL, most // 260):  # nobody has more products than reviews
        return lists
    distinct = {id(ids): ids for ids in lists}.items()  # a repeated user's list is measured once
    size_of = {identity: sum(map(_size, ids)) for identity, ids in distinct}
    sizes = [size_of[id(ids)] for ids in lists]
    if sum(sizes) <= most:
        return lists
    if len(set(features.user_ids)) < len(features.user_ids):
        problem = (
            f"must name each user once: the answer would have {sum(sizes) >> 20} MiB of product ids, more than "
            f"{most >> 20}"
        )
        raise InvalidArgument([FieldViolation("user_ids", problem)])
    longest = _longest(sizes, most)
    _LOG.warning("%d users have more products than an answer holds", sum(size > longest for size in sizes))
    known = features.release.catalogue_rows
    return [
        ids if size <= longest else _cut(sorted(ids, key=lambda name: name not in known), longest)
        for ids, size in zip(lists, sizes, strict=True)
    ]


def _size(product_id: str) -> int:
    return len(product_id.encode()) + _ID_OVERHEAD


def _longest(sizes: Sequence[int], most: int) -> int:
    """The length to which lists are cut so that all of them have `most` together."""
    left = most
    ascending = sorted(sizes)
    for i, size in enumerate(ascending):
        share = left // (len(ascending) - i)
        if size > share:
            return share
        left -= size
    return most


def _cut(ids: Sequence[str], most: int) -> list[str]:
    kept = []
    for name in ids:
        most -= _size(name)
        if most < 0:
            break
        kept.append(name)
    return sorted(kept)
