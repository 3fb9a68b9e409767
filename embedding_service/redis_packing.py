"""Connections whose commands are put into bytes by hiredis, as redis-py does for blocking connections only: a third of an import's time."""

from collections.abc import Iterable
from typing import Any, Final

import hiredis
from redis.asyncio import Connection, SSLConnection, UnixDomainSocketConnection


def _pack(command: Iterable[Any]) -> bytes:
    name, *rest = command
    packed: bytes = hiredis.pack_command((*name.split(), *rest))  # redis-py says "CLIENT SETINFO" in one
    return packed


class _Packed:
    def pack_command(self, *args: Any) -> list[bytes]:
        """One command."""
        return [_pack(args)]

    def pack_commands(self, commands: Iterable[Iterable[Any]]) -> list[bytes]:
        """A pipeline."""
        return [b"".join(map(_pack, commands))]


class _PackedConnection(_Packed, Connection):
    pass


class _PackedSSLConnection(_Packed, SSLConnection):
    pass


class _PackedUnixConnection(_Packed, UnixDomainSocketConnection):
    pass


PACKED: Final = {
    Connection: _PackedConnection,
    SSLConnection: _PackedSSLConnection,
    UnixDomainSocketConnection: _PackedUnixConnection,
}
"""redis-py's connection → the same with hiredis."""
