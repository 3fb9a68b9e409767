"""Who may call what: the role that each method requires, and the listener that serves it.

Methods of operators are on a listener of their own, so that a network can keep them apart.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from math import inf
from typing import Any, Final, Protocol

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor

from twotower.errors import PermissionDenied, Unauthenticated
from twotower.v1 import access_pb2


class Role(IntEnum):
    """What a caller may do; a higher role may do what the lower ones may."""

    READER = access_pb2.ROLE_READER
    WRITER = access_pb2.ROLE_WRITER
    OPERATOR = access_pb2.ROLE_OPERATOR


@dataclass(frozen=True)
class Caller:
    """Somebody who calls.

    Attributes:
        name: the subject of a token, or the name in a certificate.
        role: None for one who may do nothing.
        expires_at: seconds since 1970.
    """

    name: str
    role: Role | None
    expires_at: float = inf


class Authenticator(Protocol):
    """Says who calls; :class:`twotower.identity.Identities` is one."""

    def caller(
        self, metadata: Iterable[tuple[str, Any]], auth_context: Callable[[], Mapping[str, Iterable[bytes]]]
    ) -> Caller:
        """Who makes a call with this metadata over a connection with this context; raises Unauthenticated."""


_REQUIRED_ROLE: Final[Any] = access_pb2.required_role
_LONGEST_NAME: Final = 100
_HEALTH: Final = "grpc.health.v1.Health"
_REFLECTION: Final = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")


def required_role(method: str) -> Role | None:
    """The least role that may call a method, ``/package.Service/Method``; None for a method that nobody may call.

    The protos of the method's service must be imported.
    """
    descriptor = method_descriptor(method)
    role = descriptor.GetOptions().Extensions[_REQUIRED_ROLE] if descriptor else access_pb2.ROLE_UNSPECIFIED
    return Role(role) if role else None


def method_descriptor(method: str) -> MethodDescriptor | None:
    """What the protos say of a method, ``/package.Service/Method``; None if they do not have it."""
    service, _, name = method.removeprefix("/").partition("/")
    try:
        return descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]
    except KeyError:
        return None


class Gate:
    """Decides at one listener who may call what. Health is open to everybody.

    Args:
        admin: it is the listener of operators.
        authenticator: says who calls; None lets everybody who reaches the listener do what it serves.
    """

    def __init__(self, *, admin: bool, authenticator: Authenticator | None = None) -> None:
        self._admin = admin
        self._authenticator = authenticator

    def role_for(self, method: str) -> Role | None:
        """The least role that may call a method here; None for everybody.

        Raises:
            PermissionDenied: no caller may call it here.
        """
        service, _, name = method.removeprefix("/").partition("/")
        if service == _HEALTH:
            return None
        role = Role.READER if service in _REFLECTION else required_role(method)
        if role is None:
            raise PermissionDenied(f"nobody may call {name}: it declares no required_role")
        if service in _REFLECTION:
            return role
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
        return role

    def admit(self, role: Role | None, context: grpc.aio.ServicerContext[Any, Any]) -> Caller | None:
        """Who makes a call that requires a role; None if nobody asks who calls.

        Raises:
            Unauthenticated: nobody that is known.
            PermissionDenied: somebody of a lower role.
        """
        if role is None or self._authenticator is None:
            return None
        caller = self._authenticator.caller(_metadata(context), context.auth_context)
        if caller.role is None or caller.role < role:
            has = f"the role {caller.role.name.lower()}" if caller.role else "no role"
            raise PermissionDenied(f"the call requires the role {role.name.lower()}; the caller has {has}")
        return caller

    def name_of(self, context: grpc.aio.ServicerContext[Any, Any]) -> str:
        """Who makes a call, for a log."""
        if self._authenticator is None:
            return "anybody (no authentication)"
        try:
            caller = self._authenticator.caller(_metadata(context), context.auth_context)
        except Unauthenticated:
            return "nobody known"
        return repr(caller.name[:_LONGEST_NAME])


def _metadata(context: grpc.aio.ServicerContext[Any, Any]) -> Iterable[tuple[str, Any]]:
    metadata: Any = context.invocation_metadata()  # typed as the class that clients use
    return metadata or ()


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
