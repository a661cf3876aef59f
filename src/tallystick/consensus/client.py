"""Ask nodes over HTTPS: the first that answers, else the next.

Outbound only, through a proxy and a private certificate authority where there is one. Nothing that
comes back is believed here; whoever asks checks it. Requests are signed where a node has to know
who asks, with the node's own clock, so that a member's clock may be wrong.
"""

from __future__ import annotations

import hashlib
import os
import ssl
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx

from tallystick.consensus.answers import (
    MOST_DOCUMENT_BYTES,
    Answer,
    BrokenOffError,
    Opened,
    RefusedError,
    error_in,
    number_of,
)
from tallystick.consensus.engine import RetryLaterError
from tallystick.consensus.patience import Patience
from tallystick.consensus.wire import TIME_HEADER, Request, sign_request
from tallystick.errors import ConfigError, TallyError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from pathlib import Path

__all__ = [
    "Answer",
    "BrokenOffError",
    "NodeClient",
    "Opened",
    "RefusedError",
    "Route",
    "Signer",
    "check_url",
    "number_of",
]

LOOPBACK = {"127.0.0.1", "::1", "localhost"}
TIMEOUT_SECONDS = 30.0
CONNECT_SECONDS = 10.0
HEAD_SECONDS = 60.0  # until an answer has begun, besides what the node was asked to wait
ANSWER_SECONDS = 300.0  # until an answer that is read whole has to be there
MOST_ANSWER_BYTES = 1 << 27
BUSY = {429, 503}
UNAUTHORISED = 401
STALE = "stale-request"  # what a node says to a request of another time
ONCE_BYTES = 16
IDENTITY = "identity"


@dataclass(frozen=True, slots=True)
class Route:
    """How nodes are reached.

    Parameters
    ----------
    urls
        Their addresses, the preferred one first.
    ca
        The certificate authority to trust instead of the system's.
    proxy
        By which proxy; by default as the environment says.
    """

    urls: tuple[str, ...]
    ca: Path | None = None
    proxy: str | None = None


@dataclass(frozen=True, slots=True)
class Signer:
    """Whose requests these are."""

    genesis: bytes
    member: str
    key: int
    secret: bytes

    def sign(self, method: str, target: str, body: bytes, at: int) -> dict[str, str]:
        """Return the headers that sign a request made at ``at`` milliseconds."""
        request = Request(
            genesis=self.genesis,
            member=self.member,
            key=self.key,
            method=method,
            target=target,
            body=hashlib.sha256(body).digest(),
            time=at,
            once=os.urandom(ONCE_BYTES),
        )
        return sign_request(request, self.secret)


class NodeClient:
    """Nodes by their addresses, as one.

    Parameters
    ----------
    signer
        Asked whenever a request has to be signed, since keys are replaced.

    Attributes
    ----------
    sent, received
        Bytes of bodies so far.
    """

    def __init__(self, route: Route, signer: Callable[[], Signer] | None = None) -> None:
        """Open no connection yet.

        Raises
        ------
        ConfigError
            An address or the proxy's is none, or the authority's file cannot be read.
        """
        if not route.urls:
            msg = "no node is named"
            raise ConfigError(msg, hint="give its address, such as https://node.north.example")
        self.urls = tuple(dict.fromkeys(check_url(url) for url in route.urls))
        self._barred: set[str] = set()
        self._at = 0
        self._signer = signer
        self._skew = 0  # of the node's clock, in milliseconds
        self._count = threading.Lock()
        self.sent = self.received = 0
        self._http = _open_http(route, inside=all(map(_is_loopback, self.urls)))
        self._patience = Patience()
        self._patience.keep(self._http)

    @property
    def url(self) -> str:
        """The address that is asked first."""
        return self.urls[self._at]

    @property
    def order(self) -> tuple[str, ...]:
        """The addresses in the order in which they are asked, without those that are barred."""
        at = self._at
        listed = (*self.urls[at:], *self.urls[:at])
        return tuple(url for url in listed if url not in self._barred)

    def bar(self, url: str) -> None:
        """Ask this node no more."""
        self._barred.add(url)
        self.turn(url)

    def turn(self, url: str) -> None:
        """Ask the next node first from now on, unless that is so since ``url`` was asked."""
        with self._count:
            if url == self.url:
                self._at = (self._at + 1) % len(self.urls)

    @property
    def none_left(self) -> bool:
        """Whether every node is barred."""
        return len(self._barred) == len(self.urls)

    def ask(  # noqa: PLR0913 - what a request may be asked with
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        signed: bool = False,
        wait_seconds: float = 0.0,
        headers: Mapping[str, str] | None = None,
        at: str = "",
        most: int = MOST_ANSWER_BYTES,
    ) -> Answer:
        """Return the answer of the first node that gives one.

        Parameters
        ----------
        target
            Path and query.
        wait_seconds
            How long the node was asked to wait before it answers.
        headers
            Besides those that sign it.
        at
            The only node to ask.
        most
            How many bytes the answer may have.

        Raises
        ------
        RefusedError
            A node refused it.
        RetryLaterError
            No node has room now.
        UnavailableError
            No node answered.
        """
        tries = 1 if at else len(self.urls)
        while True:
            tries -= 1
            try:
                with self.stream(
                    method,
                    target,
                    body,
                    signed=signed,
                    wait_seconds=wait_seconds,
                    headers=headers,
                    at=at,
                ) as answer:
                    return Answer(answer.url, answer.headers, self._read(answer, most))
            except BrokenOffError:
                if not tries:
                    raise

    @contextmanager
    def stream(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        signed: bool = False,
        wait_seconds: float = 0.0,
        headers: Mapping[str, str] | None = None,
        at: str = "",
    ) -> Generator[Opened]:
        """Open the answer without reading it; raises as `ask`, and when it breaks off."""
        failures: list[UnavailableError] = []
        for _ in range(1 if at else len(self.urls)):
            url = at or self.url
            if url in self._barred:
                self.turn(url)
                continue
            request = _Question(url, method, target, body, headers or {}, signed=signed)
            try:
                answer = self._send(request, wait_seconds)
            except UnavailableError as error:
                failures.append(error)
                self.turn(url)
                continue
            try:
                self._patience.end = float("inf")  # whoever reads says how long
                yield Opened(url, answer.status_code, answer.headers, answer.iter_raw())
            except httpx.HTTPError as error:
                self.turn(url)
                msg = f"{url} broke off: {str(error) or type(error).__name__}"
                raise BrokenOffError(msg) from error
            finally:
                answer.close()
            return
        if failures and all(isinstance(each, RetryLaterError) for each in failures):
            raise failures[0]
        msg = "no node answers" if failures else "no node is left to ask"
        raise UnavailableError(msg, hint="; ".join(map(str, failures)))

    def count(self, *, received: int = 0) -> None:
        """Count bytes that were read from a stream."""
        with self._count:
            self.received += received

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _send(self, question: _Question, wait: float) -> httpx.Response:
        """Return an answer that is a success; once more if the node's clock differs from ours."""
        try:
            answer, refusal = self._try(question, wait)
            if refusal is not None and question.signed and _is_stale(question, answer, refusal):
                self._skew = _time_of(answer) - _now()
                answer, refusal = self._try(question, wait)
        except httpx.HTTPError as error:
            msg = f"{question.url}: {str(error) or type(error).__name__}"
            raise UnavailableError(msg) from error
        if refusal is not None:
            raise refusal
        return answer

    def _try(self, question: _Question, wait: float) -> tuple[httpx.Response, TallyError | None]:
        """Ask once; an answer that is no success is closed, and what it means comes with it."""
        method, target, body = question.method, question.target, question.body
        signature = self._signature(method, target, body) if question.signed else {}
        request = self._http.build_request(
            method,
            question.url + target,
            content=body,
            headers={**question.headers, **signature},
            timeout=httpx.Timeout(TIMEOUT_SECONDS + wait, connect=CONNECT_SECONDS),
        )
        self._patience.end = time.monotonic() + HEAD_SECONDS + wait
        answer = self._http.send(request, stream=True)
        self._patience.end = time.monotonic() + ANSWER_SECONDS
        with self._count:
            self.sent += len(body)
        if answer.is_success and answer.headers.get("content-encoding", IDENTITY) == IDENTITY:
            return answer, None
        try:
            return answer, self._refusal(question, answer)
        finally:
            answer.close()

    def _signature(self, method: str, target: str, body: bytes) -> dict[str, str]:
        if self._signer is None:
            msg = "this request has to be signed, and there is no key to sign it with"
            raise ConfigError(msg, hint="name a key folder with --key")
        return self._signer().sign(method, target, body, _now() + self._skew)

    def _refusal(self, question: _Question, answer: httpx.Response) -> TallyError:
        """Return what an answer means that is no success."""
        url, status = question.url, answer.status_code
        if answer.is_success:
            return UnavailableError(f"{url}: the answer is compressed, which nobody asked for")
        opened = Opened(url, status, answer.headers, answer.iter_raw())
        content = b"" if question.method == "HEAD" else self._read(opened, MOST_DOCUMENT_BYTES)
        code, message, document = error_in(content, status)
        if status in BUSY:
            return RetryLaterError(f"{url}: {message}")
        known = document or question.method == "HEAD"  # whose answers have no body
        if not (answer.is_client_error and known):
            return UnavailableError(f"{url}: {message}")
        return RefusedError(message, url=url, status=status, code=code, document=document)

    def _read(self, answer: Opened, most: int) -> bytes:
        data = bytearray()
        self._patience.end = time.monotonic() + ANSWER_SECONDS
        for piece in answer.pieces:
            data += piece
            if len(data) > most:
                self.turn(answer.url)
                msg = f"{answer.url}: the answer does not end"
                raise BrokenOffError(msg)
        with self._count:
            self.received += len(data)
        return bytes(data)


@dataclass(frozen=True, slots=True)
class _Question:
    """A request to one node."""

    url: str
    method: str
    target: str
    body: bytes
    headers: Mapping[str, str]
    signed: bool


def check_url(url: str) -> str:
    """Return a node's address without what does not belong to it.

    Raises
    ------
    ConfigError
        It is no address, or would be spoken to in the clear beyond this machine.
    """
    try:
        parts = urlsplit(url)
        httpx.URL(url)
        _ = parts.port
    except (ValueError, httpx.InvalidURL) as error:
        msg = f"'{url}' is no node's address: {error}"
        raise ConfigError(msg, hint="such as https://node.north.example:26650") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        msg = f"'{url}' is no node's address"
        raise ConfigError(msg, hint="such as https://node.north.example:26650")
    if parts.scheme == "http" and not _is_loopback(url):
        msg = f"'{url}' would be spoken to in the clear"
        raise ConfigError(msg, hint="use https://, with --ca FILE for an authority of your own")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def _open_http(route: Route, *, inside: bool) -> httpx.Client:
    """Return a client for a route; one ``inside`` this machine has no use for a proxy."""
    try:
        return httpx.Client(
            verify=_trust(route.ca),
            proxy=_proxy(route.proxy),
            timeout=httpx.Timeout(TIMEOUT_SECONDS, connect=CONNECT_SECONDS),
            headers={"Accept-Encoding": "identity"},
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),  # none is ever kept
            follow_redirects=False,
            limits=httpx.Limits(max_connections=16, max_keepalive_connections=8),
            trust_env=route.proxy is None and not inside,
        )
    except ImportError as error:  # httpx's own extra, for proxies of another kind
        msg = f"the proxy cannot be used: {error}"
        raise ConfigError(msg, hint="pip install 'httpx[socks]', or use another proxy") from error


def _proxy(url: str | None) -> httpx.Proxy | None:
    try:
        return None if url is None else httpx.Proxy(url)
    except (ValueError, httpx.InvalidURL) as error:
        msg = f"'{url}' is no proxy's address: {error}"
        raise ConfigError(msg, hint="such as http://proxy.north.example:3128") from error


def _is_loopback(url: str) -> bool:
    return urlsplit(url).hostname in LOOPBACK


@cache
def _system_trust() -> ssl.SSLContext:
    """Return what the system trusts, read once: that takes a tenth of a second."""
    return httpx.create_ssl_context()


def _trust(ca: Path | None) -> ssl.SSLContext:
    if ca is None:
        return _system_trust()
    try:
        return ssl.create_default_context(cafile=str(ca))
    except (OSError, ssl.SSLError) as error:
        msg = f"{ca}: not a readable certificate authority: {error}"
        raise ConfigError(msg) from error


def _is_stale(question: _Question, answer: httpx.Response, refusal: TallyError) -> bool:
    """Whether a node refuses the time of a request; an answer to HEAD cannot say why."""
    if question.method == "HEAD":
        return answer.status_code == UNAUTHORISED
    return isinstance(refusal, RefusedError) and refusal.code == STALE


def _time_of(answer: httpx.Response) -> int:
    said = number_of(answer.headers.get(TIME_HEADER, ""))
    return _now() if said < 0 else said


def _now() -> int:
    return time.time_ns() // 1_000_000
