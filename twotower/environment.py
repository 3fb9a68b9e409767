"""The variables ``TWOTOWER_…`` that clients and commands obey: their names, how they are read, and which are misspelt.

The services have variables of their own, one per setting, which begin with the names in `SERVICE_PREFIXES`. They are
checked where they are read.
"""

import os
import re
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from typing import Final

from twotower.errors import FieldViolation, InvalidArgument

PREFIX: Final = "TWOTOWER_"
SERVICE_PREFIXES: Final = ("TWOTOWER_RANKING_", "TWOTOWER_EMBEDDING_")

RANKING: Final = "TWOTOWER_RANKING"
EMBEDDING: Final = "TWOTOWER_EMBEDDING"
ADMIN_RANKING: Final = "TWOTOWER_ADMIN_RANKING"
ADMIN_EMBEDDING: Final = "TWOTOWER_ADMIN_EMBEDDING"
TLS: Final = "TWOTOWER_TLS"
TLS_CA: Final = "TWOTOWER_TLS_CA"
TLS_CERTIFICATE: Final = "TWOTOWER_TLS_CERTIFICATE"
TLS_KEY: Final = "TWOTOWER_TLS_KEY"
TOKEN_FILE: Final = "TWOTOWER_TOKEN_FILE"  # noqa: S105 - a name
HTTP_PROXY: Final = "TWOTOWER_HTTP_PROXY"
CACHE: Final = "TWOTOWER_CACHE"
USERS: Final = "TWOTOWER_USERS"
SUPPRESSIONS: Final = "TWOTOWER_SUPPRESSIONS"

VARIABLES: Final = {
    RANKING: "host:port of the ranking service",
    EMBEDDING: "host:port of the embedding service",
    ADMIN_RANKING: "host:port of the ranking service's administrative listener",
    ADMIN_EMBEDDING: "host:port of the embedding service's administrative listener",
    TLS: "true: connect to the services by TLS",
    TLS_CA: "PEM file of the authority that signed the services' certificates",
    TLS_CERTIFICATE: "PEM file of the client's own certificate",
    TLS_KEY: "PEM file of the private key of that certificate",
    TOKEN_FILE: "file of the token (a JWT) that says who calls",
    HTTP_PROXY: "true: connect through the proxy that http_proxy, https_proxy or grpc_proxy names",
    CACHE: "folder of encoded texts",
    USERS: "folder of the users of releases",
    SUPPRESSIONS: "lists of deleted users, separated by ':'",
}
"""What clients and commands obey, and what each says."""

_OF_TESTS: Final = ("TWOTOWER_DATA", "TWOTOWER_CASES")
_TRUE: Final = ("1", "true", "t", "yes", "y", "on")
_FALSE: Final = ("0", "false", "f", "no", "n", "off")
# What Kubernetes sets in every container for a service named "twotower…".
_KUBERNETES: Final = re.compile(r"_SERVICE_(HOST|PORT)(_\w+)?$|_PORT(_\d+_(TCP|UDP)(_\w+)?)?$")


class MisspeltVariable(UserWarning):
    """A variable that looks like one of Twotower's and is not."""


def read(name: str) -> str | None:
    """The value of a variable; None if it is unset or empty."""
    return os.environ.get(name) or None


def read_flag(name: str) -> bool:
    """Whether a variable says yes; False if it is unset or empty.

    Raises:
        InvalidArgument: it says neither yes nor no.
    """
    value = (read(name) or "no").strip().lower()
    if value not in (*_TRUE, *_FALSE):
        raise InvalidArgument([FieldViolation(name, f"must be true or false, got {value!r}")])
    return value in _TRUE


def misspelt(
    names: Iterable[str], known: Collection[str] = tuple(VARIABLES), others: tuple[str, ...] = SERVICE_PREFIXES
) -> list[str]:
    """A sentence for each of `names` that begins with ``TWOTOWER_`` and that nobody obeys, with the nearest known name.

    Args:
        names: names of variables that are set.
        known: names that are obeyed.
        others: beginnings of names that somebody else checks.
    """
    suspects = [
        name
        for name in sorted(names)
        if name.upper().startswith(PREFIX)
        and name not in (*known, *_OF_TESTS)
        and not name.startswith(others)
        and not _KUBERNETES.search(name)
    ]
    return [f"the variable {name} is not one of Twotower's{_nearest(name, known)}" for name in suspects]


def _nearest(name: str, known: Collection[str]) -> str:
    # Compared without the beginning that all share: it would make any two names alike.
    endings = {candidate.removeprefix(PREFIX): candidate for candidate in known}
    nearest = get_close_matches(name.upper().removeprefix(PREFIX), endings, n=1)
    return f": did you mean {endings[nearest[0]]}?" if nearest else f"; it obeys {', '.join(known)}"
