"""A middlebox between client and server, as firewalls and load balancers are: it forwards, and it can forget."""

import contextlib
import socket
import threading


class Middlebox:
    """Forwards connections to a server, until it drops them without a word to either side.

    Args:
        target: ``host:port`` of the server.

    Attributes:
        address: ``host:port`` to connect to.
        connections: how many were made.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0
        self._dropped = 0
        self._sockets: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def drop(self) -> None:
        """Forget the connections that there are: what either side sends is lost."""
        self._dropped = self.connections

    def close(self) -> None:
        """End everything."""
        for sock in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        self._thread.join()

    def _accept(self) -> None:
        host, port = self._target.split(":")
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection((host, int(port)))
            self._sockets += [near, far]
            self.connections += 1
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._forward, args=(source, sink, self.connections), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if number > self._dropped:
                    sink.sendall(data)
