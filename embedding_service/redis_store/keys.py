"""Names of all Redis keys: the only place where they are written down in code. docs/formats/redis.md is their public
description.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

SCHEMA_VERSION: Final = 2


SCHEMA_KEY: Final = "tt:schema"


ACTIVE_KEY: Final = "tt:active"


ENCODER_IDS_KEY: Final = "tt:encoder_ids"


ALS_IDS_KEY: Final = "tt:als_ids"


DROPPING_ENCODER_IDS_KEY: Final = "tt:dropping:encoder_ids"


DROPPING_ALS_IDS_KEY: Final = "tt:dropping:als_ids"


DROPPING_LOCK_KEY: Final = "tt:dropping:lock"


USER_PATTERN: Final = "tt:{u:*"


ALS_PATTERN: Final = "tt:{u:*}:als:*"


ACCUMULATOR_PATTERN: Final = "tt:{u:*}:acc:*"


POPULARITY_TAG: Final = "pop"


_ESCAPED: Final = re.compile(r"%(25|7B|7D)")


_UNSAFE: Final = re.compile(r"[%{}]")


class UserKeys:
    """A user's keys share a hash tag: one slot a user, so that a script over them stays atomic in a cluster.

    The id is escaped (``%``, ``{`` and ``}`` as ``%25``, ``%7B``, ``%7D``), so no id can end the tag early or take
    another user's keys.
    """

    __slots__ = ("_tag", "hash_tag")

    def __init__(self, user_id: str) -> None:
        self.hash_tag = "u:" + _UNSAFE.sub(_escape, user_id)
        """What Redis Cluster hashes."""
        self._tag = f"tt:{{{self.hash_tag}}}:"

    def accumulator(self, encoder_id: str) -> str:
        """Sums, review count and time of the last change: one string, so that one GET can't be torn."""
        return f"{self._tag}acc:{encoder_id}"

    def log(self, encoder_id: str) -> str:
        """Hash: review id → log entry."""
        return f"{self._tag}log:{encoder_id}"

    def seen(self, encoder_id: str) -> str:
        """Hash: product id → ``<reviews>:<sum of ratings in millionths of a star>``."""
        return f"{self._tag}seen:{encoder_id}"

    def als(self, als_id: str) -> str:
        """ALS vector, the change that it was made from, its origin, and the products seen."""
        return f"{self._tag}als:{als_id}"

    def shared(self, encoder_id: str, review_id: str) -> str:
        """What is remembered, for a while, of one review under a name that many people share."""
        return f"{self._tag}shared:{encoder_id}:{review_id}"

    @property
    def gone(self) -> str:
        """Sorted set: reviews taken back, by the time of that; the empty id is the whole user."""
        return f"{self._tag}gone"

    def all(self, encoder_ids: Sequence[str], als_ids: Sequence[str]) -> list[str]:
        """Every key that the user may have in these spaces."""
        by_encoder = [key(encoder_id) for encoder_id in encoder_ids for key in (self.accumulator, self.log, self.seen)]
        return by_encoder + [self.als(als_id) for als_id in als_ids]


def keys_to_read(encoder_id: str, als_id: str, user_ids: Sequence[str]) -> list[str]:
    """Accumulator and ALS record of users, by turns."""
    suffixes = f"}}:acc:{encoder_id}", f"}}:als:{als_id}"
    return [
        head + suffix
        for head in [f"tt:{{u:{_UNSAFE.sub(_escape, user_id)}" for user_id in user_ids]
        for suffix in suffixes
    ]


def _escape(found: re.Match[str]) -> str:
    return f"%{ord(found[0]):02X}"


@dataclass(frozen=True)
class PopularityKeys:
    """Counters of reviews by product and hour; all in one slot, so that a page of an outbox is applied atomically."""

    encoder_id: str

    @property
    def days(self) -> str:
        """Sorted set of the days that have a hash."""
        return f"tt:{{{POPULARITY_TAG}}}:days:{self.encoder_id}"

    @property
    def positions(self) -> str:
        """Hash: outbox → how many of its entries are applied."""
        return f"tt:{{{POPULARITY_TAG}}}:positions:{self.encoder_id}"

    def day(self, day: int) -> str:
        """Hash: kind, hour and product → packed count; `day` is days since 1970."""
        return f"tt:{{{POPULARITY_TAG}}}:day:{self.encoder_id}:{day}"


def unpack_key(key: bytes) -> tuple[str, str, str]:
    """User id, kind (``acc``, ``log``, ``seen``, ``als``, ``shared``, ``gone``) and encoder or ALS id of a user's
    key.
    """
    tag, _, rest = key.decode().removeprefix("tt:{u:").partition("}:")
    kind, _, of = rest.partition(":")
    return _ESCAPED.sub(lambda m: chr(int(m[1], 16)), tag), kind, of
