"""What both clients are made of: a channel per service, a stub per method, deadlines, and what gRPC itself retries."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final, Generic, TypeVar

import grpc
from google.protobuf.message import Message

from clients.calls import EMBEDDING_SERVICE, METHODS, Call, Deadlines, Method
from clients.errors import TwotowerError, from_rpc_error
from twotower.rpc import ChannelTls

ChannelT = TypeVar("ChannelT", grpc.Channel, grpc.aio.Channel)

DEFAULT_RANKING: Final = "127.0.0.1:50052"
DEFAULT_EMBEDDING: Final = "127.0.0.1:50051"


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
        ranking: str = DEFAULT_RANKING,
        embedding: str = DEFAULT_EMBEDDING,
        *,
        tls: ChannelTls | None = None,
        deadlines: Deadlines | None = None,
    ) -> None:
        """Make the channels, which connect at the first call.

        Args:
            ranking: ``host:port`` of the ranking service.
            embedding: ``host:port`` of the embedding service.
            tls: PEM files; plaintext if None.
            deadlines: those of calls that name none.
        """
        self._addresses = ranking, embedding
        self._deadlines = deadlines or Deadlines()
        self._ranking: ChannelT = self._open(ranking, tls, _CHANNEL_OPTIONS)
        self._embedding: ChannelT = self._open(embedding, tls, _CHANNEL_OPTIONS)
        self._stubs: dict[type[Message], Any] = {
            method.request: self._channel(method.service).unary_unary(
                method.path, _serialize, method.response.FromString
            )
            for method in METHODS
        }

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
        return self._deadlines.of(call.method.pace) if timeout_s is None else timeout_s

    def _failed(self, call: Call[Any], error: grpc.RpcError) -> TwotowerError:
        return from_rpc_error(error, self._server(call.method.service))
