"""Who may ask for what, how often: the checks before a request is answered.

A signed request counts once, close to the node's own time, for exactly the method, path and body it
was made for, and only under a key that is valid on the ledger now.
"""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from tallystick.consensus.wire import REQUEST_HEADER, SIGNATURE_HEADER, is_signed, read_headers
from tallystick.errors import DecodeError, TallyError
from tallystick.ledger.collect.rows import TASKS, TERMS
from tallystick.ledger.contracts import members
from tallystick.node.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tallystick.ledger.state import State
    from tallystick.ledger.terms import Terms

__all__ = ["MEMBERS", "MEMBERS_AND_NODES", "NODE", "Gate", "HttpError", "Limits", "Visitor"]

NODE = "validator"  # the role of the key that a node signs with
MEMBERS = frozenset({"owner", "worker"})
MEMBERS_AND_NODES = MEMBERS | {NODE}
STALE_MILLISECONDS = 60_000  # how far a request's time may be from the node's
MOST_BUCKETS = 4096


class HttpError(TallyError):
    """A request that is refused.

    Attributes
    ----------
    status
        Of HTTP.
    code
        What kind of refusal it is, for programs.
    facts
        More about it, for the answer's document.
    """

    slug: ClassVar[str] = "refused"

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        hint: str = "",
        **facts: Any,  # noqa: ANN401
    ) -> None:
        """Keep status and code beside the sentence."""
        super().__init__(message, hint=hint)
        self.status = status
        self.code = code
        self.facts = facts


@dataclass(frozen=True, slots=True)
class Limits:
    """What one member or address may ask for.

    Attributes
    ----------
    requests_per_second
        On average; twice as many at once, or one batch of any number.
    """

    requests_per_second: float = 1000.0


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks: a member, by the index of its key, and what role that key has.

    Attributes
    ----------
    body
        The plain SHA-256 of the body that it signed.
    """

    member: str
    key: int
    role: str
    body: bytes

    def check_body(self, body: bytes) -> None:
        """Raise `HttpError`, 401, unless this is the body that it signed."""
        if hashlib.sha256(body).digest() != self.body:
            raise HttpError(401, "other-body", "another body was signed")

    @property
    def is_node(self) -> bool:
        """Whether it is the member's node that asks, on behalf of nobody."""
        return self.role == NODE


class Gate:
    """Checks requests against the ledger's newest state.

    Parameters
    ----------
    genesis
        The hash of the ledger that requests have to be made for.
    """

    def __init__(self, genesis: bytes, limits: Limits, clock: Clock | None = None) -> None:
        """Let nobody in who asked before this moment: what was used then is not known any more."""
        self._genesis = genesis
        self._rate = limits.requests_per_second
        self._clock = clock or Clock()
        self._opened = self._clock.now()
        self._used: dict[bytes, int] = {}  # numbers used once, with their requests' time
        self._purged = self._opened
        self._buckets: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def admit(
        self,
        state: State,
        method: str,
        target: str,
        headers: Mapping[str, str],
        roles: frozenset[str] = MEMBERS,
    ) -> Visitor:
        """Return who signed the request, before its body is read, whose hash was signed, too.

        Parameters
        ----------
        roles
            Of the keys that may sign it.

        Raises
        ------
        HttpError
            401: it is not signed, or not by a member's valid key, not for this, not now, not once.
        """
        try:
            request, raw, signature = read_headers(
                headers[REQUEST_HEADER], headers[SIGNATURE_HEADER]
            )
        except KeyError:
            raise HttpError(401, "unsigned-request", "the request is not signed") from None
        except DecodeError as error:
            raise HttpError(401, "bad-signature", str(error)) from error
        if request.genesis != self._genesis:
            raise HttpError(401, "other-ledger", "the request is for another ledger")
        if (request.method, request.target) != (method, target):
            what = f"{request.method} {request.target}"
            raise HttpError(401, "other-request", f"what was signed is {what[:200]}")
        key = members.active_key(state, request.member, request.key)
        if key is None or key.role not in roles:
            msg = f"'{request.member}' has no valid key {request.key}"
            raise HttpError(401, "unknown-key", msg)
        if not is_signed(raw, signature, key.public):
            raise HttpError(401, "bad-signature", "the signature does not verify")
        self._check_once(request.time, request.once)
        return Visitor(request.member, request.key, key.role, request.body)

    def check_rate(self, who: str, count: int = 1) -> None:
        """Count requests of a member or an address; those refused do not count.

        What comes as one is taken as one: several may use up what is there for later.

        Raises
        ------
        HttpError
            429: too many of them.
        """
        now = time.monotonic()
        with self._lock:
            left, at = self._buckets.pop(who, (2 * self._rate, now))
            left = min(2 * self._rate, left + (now - at) * self._rate)
            if len(self._buckets) >= MOST_BUCKETS:
                del self._buckets[next(iter(self._buckets))]  # who asked longest ago
            is_refused = left < min(count, 1)
            self._buckets[who] = (left if is_refused else left - count, now)
        if is_refused:
            msg = f"more than {self._rate:g} requests a second"
            raise HttpError(429, "retry-later", msg, hint="ask again in a second")

    def _check_once(self, at: int, once: bytes) -> None:
        now = self._clock.now()
        with self._lock:
            if now - self._purged > STALE_MILLISECONDS:
                oldest = now - 2 * STALE_MILLISECONDS
                self._used = {seen: when for seen, when in self._used.items() if when > oldest}
                self._purged = now
            if abs(at - now) > STALE_MILLISECONDS or at < self._opened:
                msg = "the request was made at another time than now"
                raise HttpError(401, "stale-request", msg, hint="set the clock, and sign it anew")
            if once in self._used:
                msg = "the request was made before"
                raise HttpError(401, "replayed-request", msg, hint="sign it anew")
            self._used[once] = at


def terms_for(state: State, task: bytes, visitor: Visitor) -> Terms:
    """Return the terms of a task whose bytes a member asks for.

    Raises
    ------
    HttpError
        403: there is no such task, or the member has no part in it; strangers learn nothing.
    """
    terms = state.get(TERMS, task)
    if terms is None or state.get(TASKS, task) is None or visitor.member not in terms.parties:
        msg = f"'{visitor.member}' has no part in a task {task.hex()[:12]}"
        raise HttpError(403, "no-part", msg)
    return terms
