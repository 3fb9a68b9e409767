"""What both clients are made of: a channel per listener, a stub per method, deadlines, and what gRPC itself retries."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final, Generic, NamedTuple, TypeVar

import grpc
from google.protobuf.message import Message

from clients.calls import EMBEDDING_SERVICE, METHODS, RANKING_SERVICE, Call, Deadlines, Method
from clients.calls.fields import seconds
from clients.errors import FieldViolation, InvalidArgument, TwotowerError, from_rpc_error
from twotower.access import Role, required_role
from twotower.addresses import (
    ChannelSettings,
    admin_embedding_address,
    admin_ranking_address,
    channel_tls,
    embedding_address,
    proxied,
    ranking_address,
    warn_of_misspelt,
)
from twotower.rpc import ChannelTls

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


def _listener(service: str, *, admin: bool = False) -> _Listener:
    return _Listener(EMBEDDING_SERVICE if service == EMBEDDING_SERVICE else RANKING_SERVICE, admin)


def _listener_of(method: Method) -> _Listener:
    return _listener(method.service, admin=required_role(method.path) is Role.OPERATOR)


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
                ``TWOTOWER_TLS_…``, else plaintext.
            deadlines: those of calls that name none.
            http_proxy: True to connect through the proxy of ``http_proxy`` and its like, which is not used otherwise,
                and never for addresses of this machine; else ``TWOTOWER_HTTP_PROXY``.

        Raises:
            InvalidArgument: a value, or that of a variable, is not what it must be; names it.
            InvalidFile: a PEM file can't be read, or is not what it should be.
        """
        warn_of_misspelt(stacklevel=2)
        if deadlines is not None and not isinstance(deadlines, Deadlines):
            raise InvalidArgument([FieldViolation("deadlines", f"must be a Deadlines, got {deadlines!r}")])
        self._addresses = {
            _Listener(RANKING_SERVICE, admin=False): ranking_address(ranking),
            _Listener(EMBEDDING_SERVICE, admin=False): embedding_address(embedding),
            _Listener(RANKING_SERVICE, admin=True): admin_ranking_address(admin_ranking),
            _Listener(EMBEDDING_SERVICE, admin=True): admin_embedding_address(admin_embedding),
        }
        self._deadlines = deadlines or Deadlines()
        self._settings = ChannelSettings(channel_tls(tls), proxied(http_proxy))
        self._channels: dict[_Listener, ChannelT] = {
            listener: self._connect(address) for listener, address in self._addresses.items()
        }
        self._stubs: dict[type[Message], Any] = {
            method.request: self._channels[_listener_of(method)].unary_unary(
                method.path, _serialize, method.response.FromString
            )
            for method in METHODS
        }

    def _connect(self, address: str) -> ChannelT:
        channel: ChannelT = self._open(
            address, self._settings.tls, [*_CHANNEL_OPTIONS, *self._settings.options(address)]
        )
        return channel

    @staticmethod
    def _open(target: str, tls: ChannelTls | None, options: Any) -> ChannelT:
        raise NotImplementedError

    def _channel(self, service: str) -> ChannelT:
        """The channel to the main listener of a service."""
        return self._channels[_listener(service)]

    def _server(self, service: str, *, admin: bool = False) -> str:
        """Who answers for a service, for error messages: ``ranking service at 127.0.0.1:50052``."""
        listener = _listener(service, admin=admin)
        name = "embedding" if listener.service == EMBEDDING_SERVICE else "ranking"
        return f"{name} service at {self._addresses[listener]}"

    def _deadline_s(self, call: Call[Any], timeout_s: float | None) -> float:
        return self._deadlines.of(call.method.pace) if timeout_s is None else seconds(timeout_s, "timeout_s")

    def _failed(self, call: Call[Any], error: grpc.RpcError, deadline_s: float) -> TwotowerError:
        method, tls = call.method, self._settings.tls is not None
        server = self._server(method.service, admin=_listener_of(method).admin)
        return from_rpc_error(error, server, method.name, tls=tls, deadline_s=deadline_s)
