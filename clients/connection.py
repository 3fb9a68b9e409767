"""How the clients connect: addresses, and what gRPC itself retries."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import Message

from clients.calls import EMBEDDING_SERVICE, METHODS, Method
from twotower.rpc import ChannelTls

DEFAULT_RANKING: Final = "127.0.0.1:50052"
DEFAULT_EMBEDDING: Final = "127.0.0.1:50051"


def serialize(message: Message) -> bytes:
    """A request as bytes."""
    return message.SerializeToString()


@dataclass(frozen=True)
class Endpoints:
    """Where the services are.

    Attributes:
        ranking: ``host:port`` of the ranking service.
        embedding: ``host:port`` of the embedding service.
        tls: PEM files; plaintext if None.
    """

    ranking: str = DEFAULT_RANKING
    embedding: str = DEFAULT_EMBEDDING
    tls: ChannelTls | None = None

    def describe(self, service: str) -> str:
        """Who answers for a service, for error messages: ``ranking service at 127.0.0.1:50052``."""
        name, target = ("embedding", self.embedding) if service == EMBEDDING_SERVICE else ("ranking", self.ranking)
        return f"{name} service at {target}"


def service_config(methods: Iterable[Method]) -> Mapping[str, Any]:
    """gRPC's service config: methods that may be retried are, when the service is UNAVAILABLE, after 0.1, 0.2 and 0.4 s
    (with jitter).

    The throttle ends retries while most calls fail, so that clients don't keep down a service that struggles to its
    feet. (https://github.com/grpc/proposal/blob/master/A6-client-retries.md)
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


CHANNEL_OPTIONS: Final = (("grpc.service_config", json.dumps(service_config(METHODS))),)
