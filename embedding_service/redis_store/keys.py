"""Names of all Redis keys: the only place in code that spells them. docs/formats/redis.md describes them."""

import re
from binascii import crc_hqx
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import Final

SCHEMA_VERSION: Final = 3
SCHEMA_KEY: Final = "tt:schema"
ACTIVE_KEY: Final = "tt:active"
ENCODER_IDS_KEY: Final = "tt:encoder_ids"
ALS_IDS_KEY: Final = "tt:als_ids"
# "dropping" is a persisted name: the keys of retired spaces are being dropped.
RETIRED_ENCODER_IDS_KEY: Final = "tt:dropping:encoder_ids"
RETIRED_ALS_IDS_KEY: Final = "tt:dropping:als_ids"
RETIRED_SINCE_KEY: Final = "tt:dropping:since"
DROP_LOCK_KEY: Final = "tt:dropping:lock"
IMPORTED_USERS_KEY: Final = "tt:imported_users"
USER_PATTERN: Final = "tt:{u:*"
ALS_PATTERN: Final = "tt:{u:*}:als:*"
ACCUMULATOR_PATTERN: Final = "tt:{u:*}:acc:*"
ACCUMULATOR_KIND: Final = "acc"
LOG_KIND: Final = "log"
STATE_KINDS: Final = frozenset({ACCUMULATOR_KIND, LOG_KIND, "seen"})
"""Kinds of keys that are a user's state in an encoder's space."""
SLOTS: Final = 16384
_POPULARITY_TAG: Final = "pop"
_ESCAPED: Final = re.compile(r"%(25|7B|7D)")
_UNSAFE: Final = re.compile(r"[%{}]")
_GLOB: Final = re.compile(r"([\\*?\[\]^-])")


class UserKeys:
    """A user's keys share a hash tag: one slot per user, so that a script over them stays atomic in a cluster.

    The id is escaped (``%``, ``{`` and ``}`` as ``%25``, ``%7B``, ``%7D``), so no id can end the tag early or take
    another user's keys.
    """

    __slots__ = ("_hash_tag", "_tag")

    def __init__(self, user_id: str) -> None:
        self._hash_tag = "u:" + _UNSAFE.sub(_escape, user_id)  # what Redis Cluster hashes
        self._tag = f"tt:{{{self._hash_tag}}}:"

    def accumulator(self, encoder_id: str) -> str:
        """Sums, review count, time of the last change and products: one string, so that one GET can't be torn."""
        return f"{self._tag}acc:{encoder_id}"

    def log(self, encoder_id: str) -> str:
        """Hash: review id → log entry."""
        return f"{self._tag}log:{encoder_id}"

    def seen(self, encoder_id: str) -> str:
        """Hash: product id → ``<reviews>:<sum of ratings in millionths of a star>``."""
        return f"{self._tag}seen:{encoder_id}"

    def als(self, als_id: str) -> str:
        """ALS vector, the change that it was made from, and its origin."""
        return f"{self._tag}als:{als_id}"

    def anonymous(self, encoder_id: str, review_id: str) -> str:
        """String: what is remembered, for a while, of one review under an anonymous name."""
        # "shared" is a persisted name: a name that many people share.
        return f"{self._tag}shared:{encoder_id}:{review_id}"

    def anonymous_counts(self, encoder_id: str) -> str:
        """Beginning of the names of hashes, one per day since 1970: product id → reviews of it that are counted."""
        return f"{self._tag}shared_counts:{encoder_id}:"

    @property
    def tombstones(self) -> str:
        """Sorted set: reviews taken back, by the time of that; the empty id is the whole user."""
        # "gone" is a persisted name.
        return f"{self._tag}gone"

    def outbox(self, encoder_id: str, *, is_cluster: bool) -> str:
        """List: what reviews change in live popularity; in a cluster one of the user's slot, otherwise the only one."""
        tag = slot_tags()[slot_of_tag(self._hash_tag)] if is_cluster else _POPULARITY_TAG
        return f"tt:{{{tag}}}:outbox:{encoder_id}"


def keys_to_read(encoder_id: str, als_id: str, user_ids: Sequence[str]) -> list[str]:
    """Keys of the accumulators and ALS records of users, by turns."""
    suffixes = f"}}:acc:{encoder_id}", f"}}:als:{als_id}"
    return [
        head + suffix
        for head in [f"tt:{{u:{_UNSAFE.sub(_escape, user_id)}" for user_id in user_ids]
        for suffix in suffixes
    ]


def _escape(match: re.Match[str]) -> str:
    return f"%{ord(match[0]):02X}"


def unpack_key(key: bytes) -> tuple[str, str, str]:
    """User id, kind and encoder or ALS id of a user's key; the kinds are acc, log, seen, als, shared,
    shared_counts and gone.
    """
    tag, _, rest = key.decode().removeprefix("tt:{u:").partition("}:")
    kind, _, space_id = rest.partition(":")
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), tag), kind, space_id


def space_pattern(space_id: str) -> str:
    """Pattern of SCAN for the keys of an encoder's or an ALS space; it matches a few others too, see `is_in_space`."""
    escaped = _GLOB.sub(r"\\\1", space_id)
    return f"tt:*{escaped}*"


def is_in_space(key: bytes, space_id: str) -> bool:
    """Whether a key belongs to an encoder's or an ALS space."""
    return space_id in key.decode().partition("}:")[2].split(":")[1:]


def wait_key(key: str) -> str:
    """A key in the slot of another, written before WAIT."""
    return f"{key[: key.index('}') + 1]}:wait"


@dataclass(frozen=True)
class PopularityKeys:
    """Counters of reviews by product and hour; all in one slot, so that a page of an outbox is applied atomically."""

    encoder_id: str

    @property
    def days(self) -> str:
        """Sorted set of the days that have a hash."""
        return f"tt:{{{_POPULARITY_TAG}}}:days:{self.encoder_id}"

    @property
    def positions(self) -> str:
        """Hash: outbox → how many of its entries are applied."""
        return f"tt:{{{_POPULARITY_TAG}}}:positions:{self.encoder_id}"

    @property
    def changes(self) -> str:
        """List of the newest changes of counters, so that readers need not read all of them again."""
        return f"tt:{{{_POPULARITY_TAG}}}:changes:{self.encoder_id}"

    @property
    def floor(self) -> str:
        """String: the first day that is counted; earlier ones were pruned."""
        return f"tt:{{{_POPULARITY_TAG}}}:floor:{self.encoder_id}"

    def day(self, day: int) -> str:
        """Hash: kind, hour and product → packed count; `day` is days since 1970."""
        return f"tt:{{{_POPULARITY_TAG}}}:day:{self.encoder_id}:{day}"


def all_outbox_keys(encoder_ids: Iterable[str], *, is_cluster: bool) -> list[str]:
    """Every outbox that these encoders' spaces may have."""
    tags = slot_tags() if is_cluster else (_POPULARITY_TAG,)
    return [f"tt:{{{tag}}}:outbox:{encoder_id}" for encoder_id in encoder_ids for tag in tags]


def outbox_position_key(outbox: str) -> str:
    """String: number of entries ever taken out of an outbox."""
    return outbox.replace(":outbox:", ":outbox_position:", 1)


def encoder_of_outbox(outbox: str) -> str:
    """The encoder id in an outbox's key."""
    return outbox.partition(":outbox:")[2]


@cache
def slot_tags() -> tuple[str, ...]:
    """A short hash tag for each slot of a cluster."""
    tags: dict[int, str] = {}
    numbers = count()
    while len(tags) < SLOTS:
        tag = f"o{next(numbers)}"
        tags.setdefault(slot_of_tag(tag), tag)
    return tuple(tags[slot] for slot in range(SLOTS))


def slot_of_tag(tag: str) -> int:
    """The cluster's slot of a hash tag: CRC-16/XMODEM modulo 16,384."""
    return crc_hqx(tag.encode(), 0) % SLOTS
