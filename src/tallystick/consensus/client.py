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
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

import httpx
import msgspec

from tallystick.consensus.engine import RetryLaterError
from tallystick.consensus.wire import TIME_HEADER, Request, sign_request
from tallystick.errors import ConfigError, TallyError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from pathlib import Path

__all__ = ["Answer", "NodeClient", "RefusedError", "Route", "Signer", "check_url"]

LOOPBACK = {"127.0.0.1", "::1", "localhost"}
TIMEOUT_SECONDS = 30.0
CONNECT_SECONDS = 10.0
MOST_ANSWER_BYTES = 1 << 27
BUSY = {429, 503}
STALE = "stale-request"  # what a node says to a request of another time
ONCE_BYTES = 16
NODE = "node"  # in an answer's extensions: which of the addresses gave it


class RefusedError(TallyError):
    """A node refused the request, and says why.

    Attributes
    ----------
    status
        Of HTTP.
    code
        What the node calls it.
    document
        All it says about it.
    """

    slug: ClassVar[str] = "refused"

    def __init__(self, message: str, *, status: int, code: str, document: dict[str, Any]) -> None:
        """Keep the node's words apart."""
        super().__init__(message)
        self.status = status
        self.code = code
        self.document = document


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


@dataclass(frozen=True, slots=True)
class Answer:
    """What a node answered, and which one."""

    url: str
    headers: httpx.Headers
    content: bytes

    def document(self) -> dict[str, Any]:
        """Return the JSON object it holds.

        Raises
        ------
        UnavailableError
            It holds none: whatever answered is no node.
        """
        try:
            return msgspec.json.decode(self.content, type=dict[str, Any])
        except msgspec.MsgspecError as error:
            msg = f"{self.url} does not answer as a node does"
            raise UnavailableError(msg) from error


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
        self.urls = tuple(check_url(url) for url in route.urls)
        self._barred: set[str] = set()
        self._at = 0
        self._signer = signer
        self._skew = 0  # of the node's clock, in milliseconds
        self._count = threading.Lock()
        self.sent = self.received = 0
        self._http = _open_http(route, inside=all(map(_is_loopback, self.urls)))

    @property
    def url(self) -> str:
        """The address that is asked first."""
        return self.urls[self._at]

    def bar(self, url: str) -> None:
        """Ask this node no more."""
        self._barred.add(url)
        if url == self.url:
            self.turn()

    def turn(self) -> None:
        """Ask the next node first from now on."""
        self._at = (self._at + 1) % len(self.urls)

    @property
    def is_alone(self) -> bool:
        """Whether every node is barred."""
        return len(self._barred) == len(self.urls)

    def ask(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        signed: bool = False,
        wait_seconds: float = 0.0,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Return the answer of the first node that gives one.

        Parameters
        ----------
        target
            Path and query.
        headers
            Besides those that sign it, such as the range of bytes wanted.
        wait_seconds
            How long the node was asked to wait before it answers.

        Raises
        ------
        RefusedError
            A node refused it.
        RetryLaterError
            A node has no room now.
        UnavailableError
            No node answered.
        """
        with self.stream(
            method, target, body, signed=signed, wait_seconds=wait_seconds, headers=headers
        ) as answer:
            return Answer(answer.extensions[NODE], answer.headers, self._read(answer))

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
    ) -> Generator[httpx.Response]:
        """Open the answer without reading it; raises as `ask`, and when it breaks off."""
        failures: list[str] = []
        for _ in range(len(self.urls)):
            url = self.url
            if url in self._barred:
                self.turn()
                continue
            try:
                answer = self._send(
                    method,
                    target,
                    body,
                    signed=signed,
                    wait_seconds=wait_seconds,
                    headers=dict(headers or {}),
                )
            except httpx.HTTPError as error:
                failures.append(f"{url}: {str(error) or type(error).__name__}")
                self.turn()
                continue
            answer.extensions[NODE] = url  # as it was given: httpx writes some otherwise
            try:
                yield answer
            except httpx.HTTPError as error:
                msg = f"{url} broke off: {str(error) or type(error).__name__}"
                raise UnavailableError(msg) from error
            finally:
                answer.close()
            return
        msg = "no node answers" if failures else "no node is left to ask"
        raise UnavailableError(msg, hint="; ".join(failures))

    def count(self, *, received: int = 0) -> None:
        """Count bytes that were read from a stream."""
        with self._count:
            self.received += received

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _send(
        self,
        method: str,
        target: str,
        body: bytes,
        *,
        signed: bool,
        wait_seconds: float,
        headers: dict[str, str],
    ) -> httpx.Response:
        """Return an answer that is a success; once more if the node's clock differs from ours."""
        for last in (False, True):
            signature = self._signature(method, target, body) if signed else {}
            request = self._http.build_request(
                method,
                self.url + target,
                content=body,
                headers={**headers, **signature},
                timeout=httpx.Timeout(TIMEOUT_SECONDS + wait_seconds, connect=CONNECT_SECONDS),
            )
            answer = self._http.send(request, stream=True)
            with self._count:
                self.sent += len(body)
            if answer.is_success:
                return answer
            try:
                refusal = self._refusal(answer)
            finally:
                answer.close()
            if last or not (isinstance(refusal, RefusedError) and refusal.code == STALE):
                raise refusal
            self._skew = _time_of(answer) - _now()
        raise AssertionError  # pragma: no cover - the loop returns or raises

    def _signature(self, method: str, target: str, body: bytes) -> dict[str, str]:
        if self._signer is None:
            msg = "this request has to be signed, and there is no key to sign it with"
            raise ConfigError(msg, hint="name a key folder with --key")
        return self._signer().sign(method, target, body, _now() + self._skew)

    def _refusal(self, answer: httpx.Response) -> TallyError:
        code, message, document = _error_in(self._read(answer), answer.status_code)
        if answer.status_code in BUSY:
            return RetryLaterError(f"{self.url}: {message}")
        if answer.is_server_error:
            return UnavailableError(f"{self.url}: {message}")
        return RefusedError(message, status=answer.status_code, code=code, document=document)

    def _read(self, answer: httpx.Response) -> bytes:
        data = bytearray()
        for piece in answer.iter_bytes():
            data += piece
            if len(data) > MOST_ANSWER_BYTES:
                msg = f"{self.url}: the answer does not end"
                raise UnavailableError(msg)
        with self._count:
            self.received += len(data)
        return bytes(data)


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


def _trust(ca: Path | None) -> ssl.SSLContext | bool:
    if ca is None:
        return True
    try:
        return ssl.create_default_context(cafile=str(ca))
    except (OSError, ssl.SSLError) as error:
        msg = f"{ca}: not a readable certificate authority: {error}"
        raise ConfigError(msg) from error


def _error_in(content: bytes, status: int) -> tuple[str, str, dict[str, Any]]:
    """Return code, message and document of a refusal, whatever it holds."""
    try:
        document = msgspec.json.decode(content, type=dict[str, Any])
        error = document["error"]
        return str(error["code"])[:64], str(error["message"])[:500], document
    except (msgspec.MsgspecError, KeyError, TypeError):
        return "http", f"status {status}", {}


def _time_of(answer: httpx.Response) -> int:
    text = answer.headers.get(TIME_HEADER, "")
    return int(text) if text.isdigit() and len(text) < len("9" * 19) else _now()


def _now() -> int:
    return time.time_ns() // 1_000_000
