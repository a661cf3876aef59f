"""Serve an application to CometBFT over a unix socket.

CometBFT opens four connections and opens them anew after every restart. Each has a thread; answers
go out in the order of the questions, and at the latest when CometBFT asks for a flush.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from tallystick.consensus.cometbft import abci_pb2 as abci
from tallystick.consensus.cometbft.frames import read_frame, write_frame
from tallystick.errors import DecodeError, UnavailableError

if TYPE_CHECKING:
    from pathlib import Path

    from tallystick.consensus.cometbft.application import Application

__all__ = ["Server"]

LOG = logging.getLogger(__name__)
BUFFER_BYTES = 1 << 16
PAUSE_SECONDS = 0.2  # after a connection that could not be taken


class Server:
    """Listens until it is closed.

    Parameters
    ----------
    path
        The socket; one that an earlier process left is replaced.

    Raises
    ------
    UnavailableError
        The socket cannot be made.
    """

    def __init__(self, application: Application, path: Path) -> None:
        """Listen at once."""
        self._application = application
        self._path = path
        self._open: dict[socket.socket, threading.Thread] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            path.unlink(missing_ok=True)
            self._listening.bind(str(path))
            path.chmod(0o600)
            self._listening.listen()
        except OSError as error:
            self._listening.close()
            msg = f"{path}: {error.strerror or error}"
            raise UnavailableError(msg, hint="a socket's path has at most 107 bytes") from error
        self._thread = threading.Thread(target=self._accept, name="abci", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Hang up and listen no more; on return nothing is asked of the application any more."""
        self._closed = True
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()
        with self._lock:
            left = list(self._open.items())
        for connection, _ in left:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for _, worker in left:
            worker.join()
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        while not self._closed:
            try:
                connection, _ = self._listening.accept()
            except OSError as error:
                if self._closed:
                    return
                LOG.warning("a connection of CometBFT's was not taken: %s", error)
                time.sleep(PAUSE_SECONDS)  # too many files are open, for one
                continue
            worker = threading.Thread(
                target=self._serve, args=(connection,), name="abci-connection", daemon=True
            )
            with self._lock:
                self._open[connection] = worker
            worker.start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with (
                connection,
                connection.makefile("rb", BUFFER_BYTES) as asked,
                connection.makefile("wb", BUFFER_BYTES) as told,
            ):
                while (frame := read_frame(asked)) is not None:
                    request = abci.Request.FromString(frame)
                    write_frame(told, self._application.answer(request).SerializeToString())
                    if request.WhichOneof("value") == "flush":
                        told.flush()
        except (OSError, DecodeError, ValueError) as error:
            if not self._closed:
                LOG.warning("CometBFT's connection broke off: %s", error)
        except Exception:
            LOG.exception("CometBFT's connection is given up")
        finally:
            with self._lock:
                del self._open[connection]
