"""Serve a node until somebody ends it: HTTP, TLS, signals.

SIGTERM and SIGINT end it cleanly: requests under way are answered, nothing new is taken; a second
one changes nothing. After anything else it goes on where it was, since what was acknowledged is on
disk.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import signal
import threading
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from tallystick.errors import ConfigError, UnavailableError
from tallystick.node.http import make_app

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import FrameType

    from tallystick.node.home import Home

__all__ = ["make_server", "serve"]

LOG = logging.getLogger(__name__)
HEAD_SECONDS = 10.0  # until the first line of a request is there
IDLE_SECONDS = 75  # a connection without requests is kept so long
UNREAD_SECONDS = 30.0  # in which some of an answer has to be taken
GRACE_SECONDS = 5
MOST_HEAD_BYTES = 16 * 1024
TIDY_SECONDS = 3600
LEFTOVER_SECONDS = 14 * 86_400  # an upload nobody went on with


class _Server(uvicorn.Server):
    """A server that leaves signals to `serve`, which knows what else has to end."""

    def install_signal_handlers(self) -> None:
        """Install none."""

    def capture_signals(self) -> Any:  # noqa: ANN401 - a context manager of uvicorn's
        """Capture none."""
        return nullcontext()


class _Patience(H11Protocol):
    """HTTP/1.1 that closes a connection on which a request takes too long to begin.

    The first one from the start, a later one from its first byte: a connection is not kept open
    by a byte now and then. What follows a finished request without being one counts, too. Whoever
    takes nothing of its answer is cut off, and one address has half of all connections at most.
    """

    _late: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Start the clock."""
        super().connection_made(transport)
        if self._has_its_share():
            transport.close()
            return
        transport.set_write_buffer_limits(high=1, low=0)  # writing pauses while anything waits
        self._late = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clocks."""
        self._stop()
        self._stop_watching()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Start the clock for the rest of a body that was not waited for."""
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY and self._late is None:
            self._late = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def pause_writing(self) -> None:
        """Watch whether what waits here is taken."""
        super().pause_writing()
        self._watch(self._waiting_bytes())

    def resume_writing(self) -> None:
        """Watch no more: everything was taken."""
        self._stop_watching()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        """Stop the clock when a request has begun; start it when part of one is here."""
        super().data_received(data)
        if not self._is_between():
            self._stop()
        elif self._late is None:
            self._late = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _is_between(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete  # pyright: ignore[reportUnnecessaryComparison]

    def _has_its_share(self) -> bool:
        """Whether its address has too many connections; a proxy on this machine sees to that."""
        host = self.client[0] if self.client else ""
        if self.limit_concurrency is None or not host or _is_here(host):
            return False
        known = [each.client for each in self.connections if isinstance(each, _Patience)]
        held = [each for each in known if each is not None and each[0] == host]
        return len(held) > max(1, self.limit_concurrency // 2)

    def _waiting_bytes(self) -> int:
        try:
            return self.transport.get_write_buffer_size()
        except AttributeError:  # of TLS that was closed twice
            return 0

    def _watch(self, before: int) -> None:
        self._stop_watching()
        self._unread = self.loop.call_later(UNREAD_SECONDS, self._look, before)

    def _look(self, before: int) -> None:
        left = self._waiting_bytes()
        if left < before:
            self._watch(left)
        else:
            self._unread = None
            self.transport.abort()

    def _stop_watching(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _stop(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _give_up(self) -> None:
        self._late = None
        if self._is_between() and not self.transport.is_closing():
            self.transport.close()


def _is_here(host: str) -> bool:
    """Whether an address is of this machine alone."""
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


class _Ending:
    """Whether the node was told to end, and what then has to happen."""

    def __init__(self) -> None:
        """Nobody has said so."""
        self.asked = False
        self._bound: tuple[asyncio.AbstractEventLoop, Callable[[], None]] | None = None

    def bind(self, loop: asyncio.AbstractEventLoop, act: Callable[[], None]) -> None:
        """Call ``act`` in the loop once it is told; at once if it was."""
        self._bound = loop, act
        if self.asked:
            self.ask()

    def ask(self, _: int = 0, __: FrameType | None = None) -> None:
        """Tell it to end."""
        self.asked = True
        if self._bound is not None and not self._bound[0].is_closed():
            self._bound[0].call_soon_threadsafe(self._bound[1])


def serve(home: Home, started: Callable[[str], None] | None = None) -> None:
    """Serve a node until it is told to end; closes the home.

    Parameters
    ----------
    started
        Called with the node's address once it answers.

    Raises
    ------
    UnavailableError
        The port is taken, or the node failed.
    """
    ending = _Ending()
    with _told_by_signals(ending), home.opened:
        home.service.clerk.start()
        asyncio.run(_serve(home, started, ending))
        if home.service.clerk.failure is not None:
            msg = f"the node stopped sealing blocks: {home.service.clerk.failure}"
            raise UnavailableError(msg, hint="its log says more")


@contextmanager
def _told_by_signals(ending: _Ending) -> Generator[None]:
    """Let signals end the node from now until everything is closed; in the main thread alone.

    The loop's own handlers would be gone before that, and a second signal would kill what closes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: signal.signal(number, ending.ask) for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def make_server(home: Home) -> uvicorn.Server:
    """Return the server of a node, which nobody has started."""
    settings = home.settings
    return _Server(
        uvicorn.Config(
            make_app(home.service),
            host=settings.host,
            port=settings.port,
            http=_Patience,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=settings.connections,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
            h11_max_incomplete_event_size=MOST_HEAD_BYTES,
            ssl_certfile=settings.certificate or None,
            ssl_keyfile=settings.certificate_key or None,
        )
    )


async def _serve(home: Home, started: Callable[[str], None] | None, ending: _Ending) -> None:
    settings, service = home.settings, home.service
    server = make_server(home)

    def end() -> None:
        service.bell.close()
        server.should_exit = True

    ending.bind(asyncio.get_running_loop(), end)
    watching = asyncio.create_task(_watch(home, server, started, end))
    try:
        await server.serve()
    except SystemExit as error:  # how uvicorn says that it cannot listen
        msg = f"{settings.host}:{settings.port} cannot be listened on"
        hint = "the port is taken (--port chooses another), or the host is none of this machine's"
        raise UnavailableError(msg, hint=hint) from error
    except OSError as error:
        msg = f"certificate {settings.certificate}: {error}"
        raise ConfigError(msg) from error
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


async def _watch(
    home: Home,
    server: uvicorn.Server,
    started: Callable[[str], None] | None,
    end: Callable[[], None],
) -> None:
    """Say when the node answers; tidy up now and then; end it when its clerk has failed."""
    while not server.started:  # noqa: ASYNC110 - uvicorn says so by a flag alone
        await asyncio.sleep(0.02)
    scheme = "https" if home.settings.certificate else "http"
    host, port = server.servers[0].sockets[0].getsockname()[:2]
    url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
    LOG.info("serving %s at %s", home.genesis.name, url)
    if started is not None:
        started(url)
    tidied = -float(TIDY_SECONDS)
    while not server.should_exit:
        now = asyncio.get_running_loop().time()
        if now - tidied > TIDY_SECONDS:
            tidied = now
            try:
                await asyncio.to_thread(home.service.shelf.tidy, LEFTOVER_SECONDS)
            except UnavailableError as error:
                LOG.warning("not tidied up: %s", error)
        if home.service.clerk.failure is not None:
            end()
        await asyncio.sleep(0.5)
