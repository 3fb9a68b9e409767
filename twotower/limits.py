"""What one caller, or all of them together, may cost a server."""

from collections.abc import Mapping
from typing import Any, Final

from google.protobuf.descriptor import Descriptor

from twotower.errors import FieldViolation, InvalidArgument

MAX_MESSAGE_BYTES: Final = 64 * 2**20
"""Of an answer, and of a batch of an import, in which one user may have 65,538 reviews."""
MAX_REQUEST_BYTES: Final = 4 * 2**20
_MAX_FIELDS: Final = 4_096
"""A batch has at most 1,024 elements."""
_MAX_IMPORT_FIELDS: Final = 262_144
_SCANNED_BYTES: Final = 65_536
"""Smaller requests are parsed at once: an element may take two bytes there and a hundred in memory."""

MAX_CALLS: Final = 4_096
MAX_OPEN_CALLS: Final = 1_024
"""Calls of many requests and many answers; ranking has as many as it has ever had look-ups at once."""
LONG_WAIT_S: Final = 60.0
"""Such a call that has waited longer for a request may be ended for a new one."""
MAX_WATCHERS: Final = 256
LONG_ANSWER_BYTES: Final = 64 * 2**10
"""Shorter answers are not counted: a server's calls can't keep more than 256 MiB of them."""
MAX_UNREAD_BYTES: Final = 512 * 2**20
"""Of the long answers that are being sent, all together: HTTP/2 lets a caller leave an answer unread,
and gRPC holds it twice."""

_IDENTITY_ONLY: Final = 1
_MIN_PING_INTERVAL_MS: Final = 1_000
"""Far less than what clients do, because the network moves pings together."""


def server_options(*, max_request_bytes: int, reuse_port: bool) -> list[tuple[str, int]]:
    """gRPC's options of a listener."""
    return [
        ("grpc.max_receive_message_length", max_request_bytes),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        # gRPC inflates a message before it looks at its size; nobody of ours compresses.
        ("grpc.compression_enabled_algorithms_bitset", _IDENTITY_ONLY),
        ("grpc.max_concurrent_streams", 1_024),
        ("grpc.max_allowed_incoming_connections", 4_096),
        ("grpc.max_metadata_size", 8 * 1024),
        ("grpc.absolute_max_metadata_size", 16 * 1024),
        ("grpc.server_handshake_timeout_ms", 10_000),
        # A client that is gone without a word is noticed, and what it held is free again.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.max_connection_idle_ms", 600_000),
        ("grpc.so_reuseport", int(reuse_port)),
        # Clients may ping an idle connection every few seconds; gRPC would hang up on them after the third ping.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", _MIN_PING_INTERVAL_MS),
    ]


Tree = Mapping[int, Any]
"""Fields that lead to repeated messages: number → those inside it."""


def repeated_messages(descriptor: Descriptor, depth: int = 4) -> Tree:
    """The fields of a message that are repeated messages, or that hold some."""
    tree: dict[int, Tree] = {}
    for field in descriptor.fields:
        if field.message_type is not None and depth:
            inside = repeated_messages(field.message_type, depth - 1)
            if field.is_repeated or inside:
                tree[field.number] = inside
    return tree


def check_fields(data: bytes, tree: Tree) -> None:
    """Refuse a request of far more elements than any may have, before they are parsed: each is an object then.

    Raises:
        InvalidArgument: it has, or its bytes can't be read.
    """
    if len(data) <= _SCANNED_BYTES:
        return
    limit = _MAX_IMPORT_FIELDS if any(tree.values()) else _MAX_FIELDS
    if _count(data, 0, len(data), tree, limit) > limit:
        raise InvalidArgument([FieldViolation("request", f"must have at most {limit} elements")])


def _count(data: bytes, at: int, end: int, tree: Tree, limit: int) -> int:
    """Number of fields in a message and in those of its fields that `tree` has; stops beyond `limit`."""
    count = 0
    while at < end and count <= limit:
        count += 1
        tag, at = _varint(data, at, end)
        kind = tag & 7
        if kind == 2:
            size, at = _varint(data, at, end)
            inside = tree.get(tag >> 3)
            if inside:
                count += _count(data, at, min(at + size, end), inside, limit - count)
            at += size
        elif kind == 0:
            _, at = _varint(data, at, end)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise _unreadable()
    return count


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise _unreadable()


def _unreadable() -> InvalidArgument:
    return InvalidArgument(
        [FieldViolation("request", "must be a message of the method's type; its bytes can't be parsed")]
    )
