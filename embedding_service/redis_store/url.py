"""The forms of `--store`: what each may hold, and how it is shown without user name and password.

It imports little, so that the command line can name them at no cost.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

EMBEDDED: Final = "embedded"
CLUSTER_SCHEMES: Final = {"redis+cluster": "redis", "rediss+cluster": "rediss"}
SENTINEL_SCHEMES: Final = {"redis+sentinel": "redis", "rediss+sentinel": "rediss"}
SCHEMES: Final = ("redis", "rediss", "unix", *CLUSTER_SCHEMES, *SENTINEL_SCHEMES)
_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379
_ADDRESS: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[^:\[\]\s]+)(:(?P<port>[0-9]{1,5}))?")
_OPTIONS: Final = ("db", "client_name")
_SENTINEL_OPTIONS: Final = ("db", "sentinel_username", "sentinel_password")


@dataclass(frozen=True)
class StoreUrl:
    """A store's URL in parts, each decoded.

    Attributes:
        scheme: one of `SCHEMES`.
        username: of Redis; empty if there is none.
        password: of Redis; empty if there is none.
        addresses: hosts and ports; none for a socket.
        path: of a socket; otherwise empty.
        name: of the primary, as Sentinels know it.
        options: what followed the question mark, without the database.
        database: number.
    """

    scheme: str
    username: str
    password: str
    addresses: tuple[tuple[str, int], ...]
    path: str
    name: str
    options: dict[str, str]
    database: int

    @property
    def has_tls(self) -> bool:
        """Connections are encrypted."""
        return self.scheme.startswith("rediss")

    def __str__(self) -> str:
        """The address without user name, password and options."""
        hosts = ",".join(f"{f'[{host}]' if ':' in host else host}:{port}" for host, port in self.addresses)
        path = "/".join(part for part in (self.name, str(self.database) if self._shows_database else "") if part)
        return f"{self.scheme}://{hosts}{self.path}{'/' * bool(path and hosts)}{path if hosts else ''}"

    __repr__ = __str__

    @property
    def _shows_database(self) -> bool:
        return self.scheme in ("redis", "rediss") or bool(self.database)

    def for_redis_py(self) -> str:
        """The URL as redis-py reads it: of one server or of a node of a cluster, with every character encoded."""
        account = f"{quote(self.username, '')}:{quote(self.password, '')}@" if self.username or self.password else ""
        [(host, port)] = self.addresses or [("", 0)]
        address = f"{f'[{host}]' if ':' in host else host}:{port}" if host else quote(self.path)
        options = {**self.options, "db": str(self.database)} if self.database else self.options
        query = "&".join(f"{name}={quote(value, '')}" for name, value in options.items())
        scheme = CLUSTER_SCHEMES.get(self.scheme, self.scheme)
        return f"{scheme}://{account}{address}{'?' * bool(query)}{query}"


def socket_url(socket: Path) -> str:
    """URL of a server on a socket, whatever characters its path has."""
    return f"unix://{quote(str(socket))}"


def parse_store_url(url: str) -> StoreUrl:
    """Take a URL apart.

    Raises:
        ValueError: it is none of a store; the sentence says what to write, and has nothing of user name and password.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in SCHEMES:
        raise ValueError(
            f"must be 'embedded', or a URL that begins with one of {', '.join(f'{name}://' for name in SCHEMES)}"
        )
    address, _, query = rest.partition("?")
    if scheme == "unix" and address.startswith("/"):
        username = password = ""
    else:
        account, at, address = rest.rpartition("@")
        if at and re.search(r"[/?#@\[\]\s]", account):
            raise ValueError(
                "user name and password must be percent-encoded: %2F for /, %3F for ?, %23 for #, %40 for @, %25 for %"
            )
        address, _, query = address.partition("?")
        username, _, password = map(unquote, account.partition(":"))
    allowed = _SENTINEL_OPTIONS if scheme in SENTINEL_SCHEMES else _OPTIONS
    options = _options(query, allowed)
    if scheme == "unix":
        if not address.startswith("/"):
            raise ValueError("unix:// takes an absolute path: unix:///run/redis.sock")
        return StoreUrl(
            scheme, username, password, (), unquote(address), "", options, _database([options.pop("db", "")])
        )
    hosts, _, path = address.partition("/")
    name = ""
    if scheme in SENTINEL_SCHEMES:
        name, _, path = path.partition("/")
        if not name:
            raise ValueError("the name of the primary is missing: redis+sentinel://host,host/name")
    default_port = _SENTINEL_PORT if scheme in SENTINEL_SCHEMES else _PORT
    addresses = tuple(_address(host, default_port) for host in hosts.split(","))
    if len(addresses) > 1 and scheme not in SENTINEL_SCHEMES:
        raise ValueError(f"{scheme}:// takes one host; several are for redis+sentinel://")
    database = _database([path, options.pop("db", "")])
    if database and scheme in CLUSTER_SCHEMES:
        raise ValueError("a cluster has no other database than 0")
    return StoreUrl(scheme, username, password, addresses, "", unquote(name), options, database)


def with_password(url: str, password: str) -> str:
    """A URL that names a user or nobody, with that password."""
    scheme, _, rest = url.partition("://")
    user, _, address = rest.rpartition("@") if not rest.startswith("/") else ("", "", rest)
    return f"{scheme}://{user.removesuffix(':')}:{quote(password, '')}@{address}"


def with_password_file(store: str, file: Path | None) -> str:
    """A store, with the password that a file holds if there is one.

    Raises:
        ValueError: the file has no place with this store, or does not exist; with what to do.
        OSError: it can't be read.
    """
    if file is None:
        return store
    if store == EMBEDDED or parse_store_url(store).password:
        raise ValueError("is for a Redis of your own, whose URL has no password")
    if not file.is_file():
        raise ValueError(f"{file}: no such file")
    return with_password(store, file.read_text(encoding="utf-8").rstrip("\r\n"))


def check_tls(store: str, files: Iterable[Path | None]) -> None:
    """Refuse TLS files for a store that is reached without TLS, and files that can't be read.

    Raises:
        ValueError: with what to do.
    """
    given = [file for file in files if file is not None]
    if given and (store == EMBEDDED or not parse_store_url(store).has_tls):
        shown = EMBEDDED if store == EMBEDDED else f"{store.partition('://')[0]}://"
        raise ValueError(f"TLS files are given, but the store is {shown}; write rediss…:// or leave the files out")
    for file in given:
        if not file.is_file():
            raise ValueError(f"{file}: no such file")


def _options(query: str, allowed: Iterable[str]) -> dict[str, str]:
    options = {}
    for part in query.split("&") if query else []:
        name, _, value = part.partition("=")
        if name not in allowed and not name.startswith("ssl_"):
            raise ValueError(f"after the question mark are allowed: {', '.join(allowed)}, and ssl_…")
        options[name] = unquote(value)
    return options


def _address(address: str, default_port: int) -> tuple[str, int]:
    match = _ADDRESS.fullmatch(address)
    if not match or not 0 < int(match["port"] or default_port) < 65_536:
        # What stands there may be a part of a password whose "@" is missing.
        raise ValueError("must name its servers as host or host:port, with a port from 1 to 65535")
    return match["host"].strip("[]"), int(match["port"] or default_port)


def _database(values: Iterable[str]) -> int:
    given = [value for value in values if value]
    if any(not re.fullmatch("[0-9]{1,9}", value) for value in given):
        raise ValueError("the database must be a whole number")
    return int(given[-1]) if given else 0
