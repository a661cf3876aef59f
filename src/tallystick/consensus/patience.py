"""An end to waiting: a node that sends a byte now and then is not waited for.

A time limit for each read is none for an answer. Here whoever asks says until when it waits, and
every read of that thread keeps to it, below TLS and whatever speaks HTTP.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import httpcore

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

    import httpx

__all__ = ["Patience"]


class Patience(threading.local):
    """Until when the thread that uses it waits for what it reads; by default for ever.

    Attributes
    ----------
    end
        On the clock of `time.monotonic`.
    """

    end = float("inf")

    def keep(self, client: httpx.Client) -> None:
        """Let every connection that ``client`` will open keep to it."""
        listed: list[Any] = [client._transport]  # pyright: ignore[reportPrivateUsage]
        listed.extend(client._mounts.values())  # pyright: ignore[reportPrivateUsage]
        for transport in listed:
            if transport is not None:  # for what is reached without a proxy
                transport._pool._network_backend = _Backend(self)


class _Backend(httpcore.NetworkBackend):
    """Opens connections whose reads end in time."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """See the base class."""
        opened = self._plain.connect_tcp(host, port, timeout, local_address, socket_options)
        return _Stream(opened, self._patience)


class _Stream(httpcore.NetworkStream):
    """A connection whose reads end in time."""

    def __init__(self, opened: httpcore.NetworkStream, patience: Patience) -> None:
        self._opened, self._patience = opened, patience

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """See the base class."""
        left = self._patience.end - time.monotonic()
        if left <= 0:
            msg = "the answer takes too long"
            raise httpcore.ReadTimeout(msg)
        return self._opened.read(max_bytes, left if timeout is None else min(left, timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """See the base class."""
        self._opened.write(buffer, timeout)

    def close(self) -> None:
        """See the base class."""
        self._opened.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        """See the base class."""
        secured = self._opened.start_tls(ssl_context, server_hostname, timeout)
        return _Stream(secured, self._patience)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - as the base class has it
        """See the base class."""
        return self._opened.get_extra_info(info)
