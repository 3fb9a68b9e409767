"""What both clients are made of: a channel per service, a stub per method, deadlines, and what gRPC itself retries."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final, Generic, TypeVar

import grpc
from google.protobuf.message import Message

from clients.calls import EMBEDDING_SERVICE, METHODS, Call, Deadlines, Method
from clients.calls.fields import seconds
from clients.errors import FieldViolation, InvalidArgument, TwotowerError, from_rpc_error
from twotower.addresses import (
    ChannelSettings,
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


class Connection(Generic[ChannelT]):
    """The base of both clients; each brings its kind of channel and sends the calls."""

    def __init__(
        self,
        ranking: str | None = None,
        embedding: str | None = None,
        *,
        tls: ChannelTls | bool | None = None,
        deadlines: Deadlines | None = None,
        http_proxy: bool | None = None,
    ) -> None:
        """Make the channels, which connect at the first call.

        What is None is what its variable says, the same that commands obey; `twotower --help` lists them.

        Args:
            ranking: ``host:port`` of the ranking service; else ``TWOTOWER_RANKING``, else ``127.0.0.1:50052``.
            embedding: ``host:port`` of the embedding service; else ``TWOTOWER_EMBEDDING``, else ``127.0.0.1:50051``.
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
        self._addresses = ranking_address(ranking), embedding_address(embedding)
        self._deadlines = deadlines or Deadlines()
        self._settings = ChannelSettings(channel_tls(tls), proxied(http_proxy))
        self._ranking: ChannelT = self._connect(self._addresses[0])
        self._embedding: ChannelT = self._connect(self._addresses[1])
        self._stubs: dict[type[Message], Any] = {
            method.request: self._channel(method.service).unary_unary(
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
        return self._embedding if service == EMBEDDING_SERVICE else self._ranking

    def _server(self, service: str) -> str:
        """Who answers for a service, for error messages: ``ranking service at 127.0.0.1:50052``."""
        ranking, embedding = self._addresses
        return f"embedding service at {embedding}" if service == EMBEDDING_SERVICE else f"ranking service at {ranking}"

    def _deadline_s(self, call: Call[Any], timeout_s: float | None) -> float:
        return self._deadlines.of(call.method.pace) if timeout_s is None else seconds(timeout_s, "timeout_s")

    def _failed(self, call: Call[Any], error: grpc.RpcError, deadline_s: float) -> TwotowerError:
        method, tls = call.method, self._settings.tls is not None
        return from_rpc_error(error, self._server(method.service), method.name, tls=tls, deadline_s=deadline_s)
