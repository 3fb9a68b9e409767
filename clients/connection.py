"""What both clients are made of: a channel per listener, a stub per method, deadlines, and what gRPC itself retries."""

import json
import logging
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Generic, NamedTuple, TypeVar

import grpc
from google.protobuf.message import Message

from clients.calls import EMBEDDING_SERVICE, METHODS, RANKING_SERVICE, Call, Deadlines, Method
from clients.calls.fields import seconds
from clients.errors import FieldViolation, InvalidArgument, InvalidFile, TwotowerError, from_rpc_error
from twotower.access import Role, required_role
from twotower.addresses import (
    ChannelSettings,
    admin_embedding_address,
    admin_ranking_address,
    channel_tls,
    embedding_address,
    proxied,
    ranking_address,
    token_of,
    warn_of_misspelt,
)
from twotower.file_watch import FileWatch
from twotower.rpc import ChannelTls
from twotower.token_file import TokenFile

_LOG = logging.getLogger(__name__)
ChannelT = TypeVar("ChannelT", grpc.Channel, grpc.aio.Channel)


def service_config(methods: Iterable[Method]) -> Mapping[str, Any]:
    """gRPC's service config: a retried method that finds its service UNAVAILABLE tries again after 0.1, 0.2 and 0.4 s.

    gRPC varies these times at random. Its throttle ends retries while most calls fail, so that clients don't keep down
    a service that struggles to its feet. (https://github.com/grpc/proposal/blob/master/A6-client-retries.md)
    """
    names = [{"service": method.service, "method": method.name} for method in methods if method.retried]
    policy = {
        "maxAttempts": 4,
        "initialBackoff": "0.1s",
        "maxBackoff": "1s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    return {
        "methodConfig": [{"name": names, "retryPolicy": policy}],
        "retryThrottling": {"maxTokens": 20, "tokenRatio": 0.2},
    }


_CHANNEL_OPTIONS: Final = (("grpc.service_config", json.dumps(service_config(METHODS))),)


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


class _Listener(NamedTuple):
    """One of the two addresses of a service."""

    service: str
    admin: bool

    @property
    def name(self) -> str:
        """The argument that has its address: ``admin_ranking``."""
        return f"{'admin_' if self.admin else ''}{'embedding' if self.service == EMBEDDING_SERVICE else 'ranking'}"


def _listener(service: str, *, admin: bool = False) -> _Listener:
    return _Listener(EMBEDDING_SERVICE if service == EMBEDDING_SERVICE else RANKING_SERVICE, admin)


def _listener_of(method: Method) -> _Listener:
    return _listener(method.service, admin=required_role(method.path) is Role.OPERATOR)


class Channels:
    """Channels to all listeners, opened with the certificates as their files were then, and a stub per method.

    Attributes:
        opened: the channels.
        stubs: class of the request → what sends it.
        calls: how many are in flight.
        replaced: newer ones have taken their place; they are closed when the last call has ended.
    """

    def __init__(self, opened: Mapping[_Listener, Any]) -> None:
        self.opened = opened
        self.stubs: dict[type[Message], Any] = {
            method.request: opened[_listener_of(method)].unary_unary(
                method.path, _serialize, method.response.FromString
            )
            for method in METHODS
        }
        self.calls = 0
        self.replaced = False


class Connection(Generic[ChannelT]):
    """The base of both clients; each brings its kind of channel and sends the calls."""

    def __init__(
        self,
        ranking: str | None = None,
        embedding: str | None = None,
        *,
        admin_ranking: str | None = None,
        admin_embedding: str | None = None,
        tls: ChannelTls | bool | None = None,
        token_file: str | Path | TokenFile | bool | None = None,
        deadlines: Deadlines | None = None,
        http_proxy: bool | None = None,
    ) -> None:
        """Make the channels, which connect at the first call.

        What is None is what its variable says, the same that commands obey; `twotower --help` lists them.

        Args:
            ranking: ``host:port`` of the ranking service; else ``TWOTOWER_RANKING``, else ``127.0.0.1:50052``.
            embedding: ``host:port`` of the embedding service; else ``TWOTOWER_EMBEDDING``, else ``127.0.0.1:50051``.
            admin_ranking: ``host:port`` of the ranking service's administrative listener, which operators' calls go to;
                else ``TWOTOWER_ADMIN_RANKING``, else ``127.0.0.1:50062``.
            admin_embedding: the same of the embedding service; else ``TWOTOWER_ADMIN_EMBEDDING``, else
                ``127.0.0.1:50061``.
            tls: PEM files; True for the machine's authorities; False for plaintext; else ``TWOTOWER_TLS`` and
                ``TWOTOWER_TLS_…``, else plaintext. Files that change are read again, and later calls go over new
                connections.
            token_file: file of the token that says who calls, which is read again when it changes; False for none; else
                ``TWOTOWER_TOKEN_FILE``.
            deadlines: those of calls that name none.
            http_proxy: True to connect through the proxy of ``http_proxy`` and its like, which is not used otherwise,
                and never for addresses of this machine; else ``TWOTOWER_HTTP_PROXY``.

        Raises:
            InvalidArgument: a value, or that of a variable, is not what it must be, or the token would be sent in
                plaintext to another machine; names it.
            InvalidFile: a file can't be read, or is not what it should be.
        """
        warn_of_misspelt(stacklevel=2)
        if deadlines is not None and not isinstance(deadlines, Deadlines):
            raise InvalidArgument([FieldViolation("deadlines", f"must be a Deadlines, got {deadlines!r}")])
        self._addresses: dict[_Listener, str] = {
            _Listener(RANKING_SERVICE, admin=False): ranking_address(ranking),
            _Listener(EMBEDDING_SERVICE, admin=False): embedding_address(embedding),
            _Listener(RANKING_SERVICE, admin=True): admin_ranking_address(admin_ranking),
            _Listener(EMBEDDING_SERVICE, admin=True): admin_embedding_address(admin_embedding),
        }
        self._deadlines = deadlines or Deadlines()
        self._settings = ChannelSettings(channel_tls(tls), proxied(http_proxy), token_of(token_file))
        files = self._settings.tls.files if self._settings.tls else ()
        self._certificates = FileWatch(files)  # before they are read, so that no change is missed
        self._lock = threading.Lock()
        self._current = self._connect()
        self._live: set[Channels] = {self._current}

    def _connect(self) -> Channels:
        for target in self._addresses.values():
            self._settings.options(target)  # a token that must not be sent is refused before a channel is open
        return Channels({key: self._open_one(self._addresses[key]) for key in self._addresses})

    def _open_one(self, address: str) -> Any:
        return self._open(address, self._settings.tls, [*_CHANNEL_OPTIONS, *self._settings.options(address)])

    @staticmethod
    def _open(target: str, tls: ChannelTls | None, options: Any) -> ChannelT:
        raise NotImplementedError

    def _close(self, channels: Channels) -> None:
        """Close channels that no call needs any more."""
        raise NotImplementedError

    def _borrow(self) -> Channels:
        """The channels for one call, which is then told to :meth:`_give_back`."""
        with self._lock:
            if self._certificates.changed():
                self._renew()
            self._current.calls += 1
            return self._current

    def _give_back(self, channels: Channels) -> None:
        with self._lock:
            channels.calls -= 1
            if channels.replaced and not channels.calls:
                self._live.discard(channels)
                self._close(channels)

    def _renew(self) -> None:
        """Open new channels; calls on the old ones end there."""
        try:
            renewed = self._connect()
        except InvalidFile as error:  # such as a certificate whose key is not there yet
            _LOG.warning("%s; the connections go on with the certificates that they have", error)
            return
        before, self._current = self._current, renewed
        self._live.add(renewed)
        before.replaced = True
        if not before.calls:
            self._live.discard(before)
            self._close(before)

    def _server(self, service: str, *, admin: bool = False) -> str:
        """Who answers for a service, for error messages: ``ranking service at 127.0.0.1:50052``."""
        listener = _listener(service, admin=admin)
        return f"{listener.name.removeprefix('admin_')} service at {self._addresses[listener]}"

    def _deadline_s(self, call: Call[Any], timeout_s: float | None) -> float:
        return self._deadlines.of(call.method.pace) if timeout_s is None else seconds(timeout_s, "timeout_s")

    def _failed(self, call: Call[Any], error: grpc.RpcError, deadline_s: float) -> TwotowerError:
        method, listener = call.method, _listener_of(call.method)
        return from_rpc_error(
            error,
            self._server(method.service, admin=listener.admin),
            method.name,
            tls=self._settings.tls is not None,
            deadline_s=deadline_s,
            advice=self._settings.advice(error.code(), listener.name),
        )


def main_channel(channels: Channels, service: str) -> Any:
    """The channel to the main listener of a service."""
    return channels.opened[_listener(service)]
