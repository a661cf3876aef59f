"""A wire that breaks: a TCP relay on this machine that cuts connections after some bytes."""

from __future__ import annotations

import random
import socket
import threading
from contextlib import suppress

__all__ = ["FlakyWire"]

READ_BYTES = 1 << 16


class FlakyWire:
    """Relays connections to a port of this machine, and cuts some of them.

    Parameters
    ----------
    port
        Where the node listens on 127.0.0.1.
    mean_bytes
        After how many bytes, on average, a connection is cut; 0 cuts none.
    seed
        Drives when.

    Attributes
    ----------
    port
        Where the relay listens on 127.0.0.1.
    cuts
        How many connections were cut so far.
    """

    def __init__(self, port: int, *, mean_bytes: int = 0, seed: int = 0) -> None:
        """Listen."""
        self._to = port
        self._mean_bytes = mean_bytes
        self._dice = random.Random(seed)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self.cuts = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections and end those there are."""
        self._listener.close()
        for end in tuple(self._open):
            _shut(end)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                _shut(near)
                continue
            with self._lock:
                self._open |= {near, far}
                mean = self._mean_bytes
                left = [int(self._dice.expovariate(1 / mean)) if mean else -1]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._relay, args=(one, other, left), daemon=True).start()

    def _relay(self, one: socket.socket, other: socket.socket, left: list[int]) -> None:
        """Pass bytes on in one direction until either end, or the dice, closes the connection."""
        with suppress(OSError):
            while data := one.recv(READ_BYTES):
                if left[0] >= 0:
                    left[0] -= len(data)
                    if left[0] < 0:
                        with self._lock:
                            self.cuts += 1
                        break
                other.sendall(data)
        for end in (one, other):
            _shut(end)
        with self._lock:
            self._open -= {one, other}


def _shut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
