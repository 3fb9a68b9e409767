"""Where the services are and how they are reached: what is given, or else what the variables ``TWOTOWER_…`` say.

The clients of `clients` and all commands that call a service read them here.
"""

import ipaddress
import re
import warnings
from dataclasses import dataclass
from os import environ
from pathlib import Path
from typing import Any, Final

import grpc

from twotower.environment import (
    ADMIN_EMBEDDING,
    ADMIN_RANKING,
    EMBEDDING,
    HTTP_PROXY,
    RANKING,
    TLS,
    TLS_CA,
    TLS_CERTIFICATE,
    TLS_KEY,
    MisspeltVariable,
    misspelt,
    read,
    read_flag,
)
from twotower.errors import FieldViolation, InvalidArgument
from twotower.rpc import ChannelTls, open_channel

DEFAULT_RANKING: Final = "127.0.0.1:50052"
DEFAULT_EMBEDDING: Final = "127.0.0.1:50051"
DEFAULT_ADMIN_RANKING: Final = "127.0.0.1:50062"
DEFAULT_ADMIN_EMBEDDING: Final = "127.0.0.1:50061"

_SCHEMES: Final = ("dns:", "ipv4:", "ipv6:", "unix:", "unix-abstract:", "vsock:", "xds:")
"""Ways of gRPC's own to name a server (https://github.com/grpc/grpc/blob/master/doc/naming.md)."""
_HOST_AND_PORT: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+(%\w+)?\]|[^\s:/\[\]@]+):(?P<port>\d{1,5})")
_MAX_PORT: Final = 2**16 - 1


def ranking_address(given: object = None) -> str:
    """Where the ranking service is.

    Raises:
        InvalidArgument: it is not ``host:port``.
    """
    return _address(given, "ranking", RANKING, DEFAULT_RANKING)


def embedding_address(given: object = None) -> str:
    """Where the embedding service is.

    Raises:
        InvalidArgument: it is not ``host:port``.
    """
    return _address(given, "embedding", EMBEDDING, DEFAULT_EMBEDDING)


def admin_ranking_address(given: object = None) -> str:
    """Where the ranking service listens for operators.

    Raises:
        InvalidArgument: it is not ``host:port``.
    """
    return _address(given, "admin_ranking", ADMIN_RANKING, DEFAULT_ADMIN_RANKING)


def admin_embedding_address(given: object = None) -> str:
    """Where the embedding service listens for operators.

    Raises:
        InvalidArgument: it is not ``host:port``.
    """
    return _address(given, "admin_embedding", ADMIN_EMBEDDING, DEFAULT_ADMIN_EMBEDDING)


def _address(given: object, argument: str, variable: str, default: str) -> str:
    if given is not None:
        return checked_address(given, argument)
    value = read(variable)
    return default if value is None else checked_address(value, variable)


def checked_address(address: object, field: str) -> str:
    """An address that gRPC takes as it is meant: of a port above 65,535 it would take the remainder.

    Raises:
        InvalidArgument: it is not ``host:port``.
    """
    if isinstance(address, str):
        if address.startswith(_SCHEMES):
            return address
        match = _HOST_AND_PORT.fullmatch(address)
        if match and 1 <= int(match["port"]) <= _MAX_PORT:
            return address
    problem = f"must be host:port with a port of 1 to {_MAX_PORT}, such as {DEFAULT_RANKING}, got {address!r}"
    raise InvalidArgument([FieldViolation(field, problem)])


def channel_tls(given: object = None) -> ChannelTls | None:
    """How to trust the services: PEM files, True for the machine's authorities, False for plaintext.

    Raises:
        InvalidArgument: it is none of these, or a variable is neither true nor false.
    """
    if given is None:
        ca, certificate, key = map(_path, (TLS_CA, TLS_CERTIFICATE, TLS_KEY))
        wanted = read_flag(TLS) or ca or certificate or key
        return ChannelTls(ca, certificate, key) if wanted else None
    if isinstance(given, bool):
        return ChannelTls() if given else None
    if isinstance(given, ChannelTls):
        return given
    raise InvalidArgument([FieldViolation("tls", f"must be a ChannelTls, True or False, got {given!r}")])


def _path(variable: str) -> Path | None:
    value = read(variable)
    return Path(value) if value else None


def proxied(given: object = None) -> bool:
    """Whether a proxy of the environment may be used.

    Raises:
        InvalidArgument: it is neither True nor False, or the variable is neither true nor false.
    """
    if given is None:
        return read_flag(HTTP_PROXY)
    if isinstance(given, bool):
        return given
    raise InvalidArgument([FieldViolation("http_proxy", f"must be True or False, got {given!r}")])


def is_loopback(address: str) -> bool:
    """Whether an address is of this machine, which no proxy could reach."""
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    match = _HOST_AND_PORT.fullmatch(address.removeprefix("dns:///").removeprefix("ipv4:").removeprefix("ipv6:"))
    host = match["host"].strip("[]") if match else ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


@dataclass(frozen=True)
class ChannelSettings:
    """How the services are reached.

    Attributes:
        tls: what they are verified by; None for plaintext.
        http_proxy: whether the proxy of the environment is used, for addresses beyond this machine.
    """

    tls: ChannelTls | None = None
    http_proxy: bool = False

    def options(self, address: str) -> list[tuple[str, Any]]:
        """gRPC's options of a channel to an address."""
        return [("grpc.enable_http_proxy", int(self.http_proxy and not is_loopback(address)))]

    def open(self, address: str) -> grpc.Channel:
        """Open a blocking channel."""
        return open_channel(address, self.tls, self.options(address))


PLAINTEXT: Final = ChannelSettings()


def warn_of_misspelt(stacklevel: int) -> None:
    """Warn of variables that look like the client's and are not."""
    for sentence in misspelt(environ):
        warnings.warn(sentence, MisspeltVariable, stacklevel=stacklevel + 1)
