"""A caller that reads no answers: HTTP/2 lets each side say how much it is ready to receive."""

import asyncio
import struct
from types import TracebackType

DATA, HEADERS, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 4, 6, 8
INITIAL_WINDOW_SIZE = 4
END = 1
END_HEADERS = 4
ACKNOWLEDGE = 1


class UnreadingCaller:
    """Calls a method in plaintext again and again, and never opens a window for an answer."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._stream = 1
        self._window = 65_535
        self._widened = asyncio.Condition()

    async def __aenter__(self) -> "UnreadingCaller":
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        self._writer.write(_frame(SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW_SIZE, 0)))
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reading.cancel()
        self._writer.close()
        await self._writer.wait_closed()

    async def call(self, method: str, request: bytes) -> None:
        """Send a request."""
        named = {":method": "POST", ":scheme": "http", ":path": method, ":authority": "localhost"}
        named |= {"te": "trailers", "content-type": "application/grpc"}
        headers = b"".join(b"\0" + _text(name) + _text(value) for name, value in named.items())
        body = b"\0" + struct.pack(">I", len(request)) + request
        async with self._widened:
            await self._widened.wait_for(lambda: self._window >= len(body))
        self._window -= len(body)
        self._writer.write(_frame(HEADERS, END_HEADERS, self._stream, headers) + _frame(DATA, END, self._stream, body))
        self._stream += 2
        await self._writer.drain()

    async def _read(self) -> None:
        """What keeps the connection alive."""
        while True:
            size, kind, flags, stream = struct.unpack(">IBBI", b"\0" + await self._reader.readexactly(9))
            data = await self._reader.readexactly(size)
            if kind in (SETTINGS, PING) and not flags & ACKNOWLEDGE:
                self._writer.write(_frame(kind, ACKNOWLEDGE, 0, data if kind == PING else b""))
            elif kind == WINDOW_UPDATE and not stream:
                async with self._widened:
                    self._window += int.from_bytes(data, "big")
                    self._widened.notify_all()


def _frame(kind: int, flags: int, stream: int, data: bytes) -> bytes:
    return struct.pack(">I", len(data))[1:] + struct.pack(">BBI", kind, flags, stream) + data


def _text(text: str) -> bytes:
    """A text of a header, shorter than 127 bytes, as it is."""
    return bytes([len(text)]) + text.encode()
