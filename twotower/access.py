"""Who may call what: the role that each method requires, and the listener that serves it.

Methods of operators are on a listener of their own, so that a network can keep them apart.
"""

from enum import IntEnum
from typing import Any, Final

from google.protobuf import descriptor_pool

from twotower.errors import PermissionDenied
from twotower.v1 import access_pb2


class Role(IntEnum):
    """What a caller may do; a higher role may do what the lower ones may."""

    READER = access_pb2.ROLE_READER
    WRITER = access_pb2.ROLE_WRITER
    OPERATOR = access_pb2.ROLE_OPERATOR


_REQUIRED_ROLE: Final[Any] = access_pb2.required_role
_OPEN: Final = (
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
)
"""Services that every listener has."""


def required_role(method: str) -> Role | None:
    """The least role that may call a method, ``/package.Service/Method``; None for a method that nobody may call.

    The protos of the method's service must be imported.
    """
    service, _, name = method.removeprefix("/").partition("/")
    try:
        descriptor = descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]
    except KeyError:
        return None
    role = descriptor.GetOptions().Extensions[_REQUIRED_ROLE]
    return Role(role) if role else None


class Gate:
    """Decides at one listener who may call what.

    Args:
        admin: it is the listener of operators.
    """

    def __init__(self, *, admin: bool) -> None:
        self._admin = admin

    def check(self, method: str) -> None:
        """Raise PermissionDenied if no caller may call a method here."""
        service, _, name = method.removeprefix("/").partition("/")
        if service in _OPEN:
            return
        role = required_role(method)
        if role is None:
            raise PermissionDenied(f"nobody may call {name}: it declares no required_role")
        if self._admin and role < Role.OPERATOR:
            raise PermissionDenied(
                f"{name} is not served here, on the administrative listener (admin_listen), but on the main one, the "
                "address of the service's setting listen"
            )
        if not self._admin and role is Role.OPERATOR:
            raise PermissionDenied(
                f"{name} is for operators and not served here, but on the administrative listener, the address of the "
                "service's setting admin_listen"
            )


class RoutedChannel:
    """Makes the methods of one service's two listeners callable as those of one channel; generated stubs take it.

    Blocking channels or asyncio ones, both of a kind.

    Args:
        channel: to the main listener.
        admin_channel: to the administrative one.

    Attributes:
        of_main: the channel to the main listener.
    """

    def __init__(self, channel: Any, admin_channel: Any) -> None:
        self.of_main = channel
        self._admin_channel = admin_channel

    def of(self, method: str) -> Any:
        """The channel to the listener that serves a method."""
        return self._admin_channel if required_role(method) is Role.OPERATOR else self.of_main

    def unary_unary(self, method: str, *args: Any, **options: Any) -> Any:
        """The method, as that of a channel."""
        return self.of(method).unary_unary(method, *args, **options)

    def unary_stream(self, method: str, *args: Any, **options: Any) -> Any:
        """The method, as that of a channel."""
        return self.of(method).unary_stream(method, *args, **options)

    def stream_unary(self, method: str, *args: Any, **options: Any) -> Any:
        """The method, as that of a channel."""
        return self.of(method).stream_unary(method, *args, **options)

    def stream_stream(self, method: str, *args: Any, **options: Any) -> Any:
        """The method, as that of a channel."""
        return self.of(method).stream_stream(method, *args, **options)
