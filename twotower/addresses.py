"""Where the services are and how they are reached: what is given, or else what the variables ``TWOTOWER_…`` say.

The clients of `clients` and all commands that call a service read them here.
"""

import warnings
from dataclasses import dataclass, replace
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
    TOKEN_FILE,
    MisspeltVariable,
    misspelt,
    read,
    read_flag,
)
from twotower.errors import FieldViolation, InvalidArgument
from twotower.loopback import HOST_AND_PORT, is_loopback
from twotower.reasons import reason
from twotower.rpc import ChannelTls, open_channel
from twotower.token_file import Metadata, TokenFile

DEFAULT_RANKING: Final = "127.0.0.1:50052"
DEFAULT_EMBEDDING: Final = "127.0.0.1:50051"
DEFAULT_ADMIN_RANKING: Final = "127.0.0.1:50062"
DEFAULT_ADMIN_EMBEDDING: Final = "127.0.0.1:50061"

_SCHEMES: Final = ("dns:", "ipv4:", "ipv6:", "unix:", "unix-abstract:", "vsock:", "xds:")
"""Ways of gRPC's own to name a server (https://github.com/grpc/grpc/blob/master/doc/naming.md)."""
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
        match = HOST_AND_PORT.fullmatch(address)
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


def channel_tls_of(ca: Path | None, certificate: Path | None, key: Path | None, *, wanted: bool) -> ChannelTls | None:
    """How to trust the services by options: for what is not given, the variables hold.

    Raises:
        InvalidArgument: a variable is neither true nor false.
    """
    given = {"ca": ca, "certificate": certificate, "key": key}
    files = {name: path for name, path in given.items() if path}
    tls = channel_tls()
    return replace(tls or ChannelTls(), **files) if files or wanted else tls


def _path(variable: str) -> Path | None:
    value = read(variable)
    return Path(value) if value else None


def token_of(given: object = None) -> TokenFile | None:
    """The token that says who calls: that of a file, or False for none.

    Raises:
        InvalidFile: the file can't be read, or does not hold a token.
        InvalidArgument: it is neither a file nor False.
    """
    if given is None:
        path = _path(TOKEN_FILE)
        return TokenFile(path) if path else None
    if given is False:
        return None
    if isinstance(given, TokenFile):
        return given
    if isinstance(given, str | Path) and str(given):
        return TokenFile(Path(given))
    raise InvalidArgument([FieldViolation("token_file", f"must be a path, or False, got {given!r}")])


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


@dataclass(frozen=True)
class ChannelSettings:
    """How the services are reached.

    Attributes:
        tls: what they are verified by; None for plaintext.
        http_proxy: whether the proxy of the environment is used, for addresses beyond this machine.
        token: what is sent with each call to say who makes it; None for nothing.
    """

    tls: ChannelTls | None = None
    http_proxy: bool = False
    token: TokenFile | None = None

    def options(self, address: str) -> list[tuple[str, Any]]:
        """gRPC's options of a channel to an address.

        Raises:
            InvalidArgument: the token would be sent in plaintext to another machine.
        """
        if self.token and not self.tls and not is_loopback(address):
            problem = (
                f"is not sent in plaintext beyond this machine, to {address}: connect by TLS (--tls, {TLS}, tls=True)"
            )
            raise InvalidArgument([FieldViolation("token_file", problem)])
        return [("grpc.enable_http_proxy", int(self.http_proxy and not is_loopback(address)))]

    def open(self, address: str) -> grpc.Channel:
        """Open a blocking channel, whose calls are sent with the token.

        Raises:
            InvalidArgument: the token would be sent in plaintext to another machine.
        """
        channel = open_channel(address, self.tls, self.options(address))
        return grpc.intercept_channel(channel, _TokenInterceptor(self.token)) if self.token else channel

    def metadata(self) -> Metadata | None:
        """What each call is sent with."""
        return self.token.metadata() if self.token else None

    def advice(self, code: grpc.StatusCode, listener: str) -> str:
        """What to set where a call was refused for who made it; "" for any other status.

        Args:
            code: gRPC's.
            listener: who was called: ``ranking``, ``embedding``, ``admin_ranking`` or ``admin_embedding``.
        """
        option, variable = f"--{listener.replace('_', '-')}", f"TWOTOWER_{listener.upper()}"
        if code is grpc.StatusCode.UNAUTHENTICATED and not self.token:
            return f"say who calls by --token-file, {TOKEN_FILE} or token_file, or by --tls-certificate and --tls-key"
        if code is grpc.StatusCode.UNAUTHENTICATED:
            return f"called with the token of {self._caller()}, which --token-file or {TOKEN_FILE} names"
        if code is grpc.StatusCode.PERMISSION_DENIED:
            return f"called at {option} ({variable}) with {self._caller() or 'neither a token nor a certificate'}"
        return ""

    def explain(self, error: grpc.RpcError, listener: str) -> str:
        """Say why a call of a command failed: gRPC's code, the reason in one sentence, and what to set.

        Args:
            error: of the call.
            listener: as of :meth:`advice`.
        """
        code = error.code()
        why = reason(code, error.details() or "", "of that name", self.tls is not None, None)
        advice = self.advice(code, listener)
        return f"{code.name}: {why}" + (f" ({advice})" if advice else "")

    def _caller(self) -> str:
        """Who calls, by the names of files."""
        certificate = self.tls.certificate if self.tls else None
        return " and ".join(map(str, filter(None, (self.token and self.token.path, certificate))))


class _TokenInterceptor(grpc.UnaryUnaryClientInterceptor, grpc.StreamUnaryClientInterceptor):
    """Sends a token with each call of commands; the client, which makes many calls, does without interceptors."""

    def __init__(self, token: TokenFile) -> None:
        self._token = token

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Add the token."""
        return continuation(self._with_token(client_call_details), request)

    def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        """Add the token."""
        return continuation(self._with_token(client_call_details), request_iterator)

    def _with_token(self, details: Any) -> Any:
        return details._replace(metadata=(*(details.metadata or ()), *self._token.metadata()))


PLAINTEXT: Final = ChannelSettings()


def warn_of_misspelt(stacklevel: int) -> None:
    """Warn of variables that look like the client's and are not."""
    for sentence in misspelt(environ):
        warnings.warn(sentence, MisspeltVariable, stacklevel=stacklevel + 1)
