"""gRPC's standard health service.

The one of grpcio-health-checking forgets all watchers of a service when one of them leaves, and remembers every name
that anybody watches.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from twotower.errors import NotFound
from twotower.limits import MAX_WATCHERS

_LONGEST_NAME: Final = 256
_STATUS: Final = health_pb2.HealthCheckResponse


class HealthServicer(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # generated without types
    """Tells what :meth:`set_serving` said last.

    Args:
        services: full names; "" is the server as a whole.
    """

    def __init__(self, services: Iterable[str]) -> None:
        self._services = frozenset(services)
        self._serving = False
        self._closed = False
        self._changed = asyncio.Event()
        self._watchers = 0

    def set_serving(self, serving: bool) -> None:
        """Say it of all services, and tell those who watch."""
        self._serving = serving
        self._tell()

    def close(self) -> None:
        """End the calls of those who watch, after they were told."""
        self._closed = True
        self._tell()

    async def Check(self, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        """The status of a service."""
        if request.service not in self._services:
            raise NotFound(f"no service {request.service[:_LONGEST_NAME]!r}")
        return _STATUS(status=self._status(request.service))

    async def Watch(self, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
        """The status of a service now, and whenever it changed."""
        service = request.service
        if len(service) > _LONGEST_NAME:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"service: must have at most {_LONGEST_NAME} letters")
        if self._watchers >= MAX_WATCHERS:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{MAX_WATCHERS} clients watch already")
        self._watchers += 1
        try:
            told = None
            while True:
                changed, status = self._changed, self._status(service)
                if status != told:
                    yield _STATUS(status=status)
                    told = status
                elif self._closed:
                    return
                else:
                    await changed.wait()
        finally:
            self._watchers -= 1

    def _status(self, service: str) -> int:
        if service not in self._services:
            return int(_STATUS.SERVICE_UNKNOWN)
        return int(_STATUS.SERVING if self._serving else _STATUS.NOT_SERVING)

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
