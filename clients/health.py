"""Waiting for a service by gRPC's standard health protocol: a watched stream, no polling.

A service that *answers* may still be NOT_SERVING, because it has no release yet: it can be given one.
"""

import asyncio
import time
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from clients.errors import DeadlineExceeded, from_rpc_error

_REOPEN_AFTER_S: Final = 0.05
_SERVING: Final = frozenset({health_pb2.HealthCheckResponse.SERVING})
_ANSWERING: Final = _SERVING | {health_pb2.HealthCheckResponse.NOT_SERVING}


class _Wait:
    """What a wait has seen so far; the blocking and the asyncio loop share it."""

    def __init__(self, service: str, server: str, timeout_s: float, *, serving: bool) -> None:
        self._wanted = _SERVING if serving else _ANSWERING
        self.request = health_pb2.HealthCheckRequest(service=service)
        self._server = server
        self._timeout_s = timeout_s
        self._deadline = time.monotonic() + timeout_s
        self._last = "no connection"

    @property
    def options(self) -> dict[str, Any]:
        """Options of the next stream: it waits for the connection, and ends with the time that is left."""
        return {"timeout": max(0.0, self._deadline - time.monotonic()), "wait_for_ready": True}

    def is_over(self, response: Any) -> bool:
        """Whether this status is what was waited for."""
        self._last = health_pb2.HealthCheckResponse.ServingStatus.Name(response.status)
        return response.status in self._wanted

    def check(self, error: grpc.RpcError) -> None:
        """Raise unless the stream broke because the server went away: it may come back."""
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            message = f"{self._server}: not ready after {self._timeout_s:g} s: {self._last}"
            raise DeadlineExceeded(grpc.StatusCode.DEADLINE_EXCEEDED, message) from error
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise from_rpc_error(error, self._server) from error
        self._last = "connection lost"


def wait(channel: grpc.Channel, service: str, server: str, timeout_s: float, *, serving: bool = True) -> None:
    """Block until a service is SERVING, or only until it answers.

    Args:
        channel: to the service's server.
        service: full name.
        server: who it is, for the message.
        timeout_s: seconds to wait at most.
        serving: False to wait only until it answers.

    Raises:
        DeadlineExceeded: the time is over; the message has the last status.
    """
    state = _Wait(service, server, timeout_s, serving=serving)
    while True:
        stream = health_pb2_grpc.HealthStub(channel).Watch(state.request, **state.options)
        try:
            for response in stream:
                if state.is_over(response):
                    return
        except grpc.RpcError as error:
            state.check(error)
        finally:
            stream.cancel()
        time.sleep(_REOPEN_AFTER_S)


async def wait_async(
    channel: grpc.aio.Channel, service: str, server: str, timeout_s: float, *, serving: bool = True
) -> None:
    """:func:`wait` for asyncio."""
    state = _Wait(service, server, timeout_s, serving=serving)
    while True:
        stream = health_pb2_grpc.HealthStub(channel).Watch(state.request, **state.options)
        try:
            async for response in stream:
                if state.is_over(response):
                    return
        except grpc.RpcError as error:
            state.check(error)
        finally:
            stream.cancel()
        await asyncio.sleep(_REOPEN_AFTER_S)
