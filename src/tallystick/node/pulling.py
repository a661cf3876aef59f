"""Fetch what this node lacks from the others, in turn: what a member asks for, then the rest.

Nobody's word is taken: hashes are checked against the root, chunks against the hashes. Who serves
anything else is named, and the next node goes on where that one was stopped.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tallystick.consensus.witness import LyingNodeError
from tallystick.errors import TallyError, UnavailableError
from tallystick.federation.transfer import NotThereError
from tallystick.node.shelf_store import OvertakenError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tallystick.node.peer import Job, Peer
    from tallystick.node.shelf_store import ShelfStore

__all__ = ["Pulls"]

LOG = logging.getLogger(__name__)
FETCHERS = 4
MOST_WAITING = 64  # requests that wait for blobs; the rest of the connections has work to do
MOST_OF_ONE = 16  # of them, for one member
MOST_PULLS = 1024
GRACE_SECONDS = 3.0  # for whoever has it to give it, before it is fetched
COMING_SECONDS = 1.0  # until it is seen whether somebody is giving it
ASKED_PAUSE_SECONDS = 1.0  # until the others are asked again for what none of them had
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 60.0  # the same, where no member asks
LAST_SECONDS = 2.0  # for what is under way to look up at the end


@dataclass(frozen=True, slots=True)
class _Asked:
    """Who waits for a blob."""

    member: str
    answer: Future[bool] = field(default_factory=Future[bool])


@dataclass(slots=True)
class _Pull:
    """A blob to fetch, not before ``again``.

    Attributes
    ----------
    member
        Who asked for it first.
    named
        Whether the ledger names it.
    held
        How much of it was here when that was last seen.
    tried
        When all others were last asked in vain.
    shunned
        Who served other bytes as it.
    """

    member: str = ""
    named: bool = False
    waiting: list[_Asked] = field(default_factory=list[_Asked])
    is_busy: bool = False
    again: float = 0.0
    pause: float = FIRST_PAUSE_SECONDS
    held: int = 0
    tried: float = -math.inf
    shunned: set[str] = field(default_factory=set[str])

    @property
    def is_due(self) -> bool:
        """Whether anybody needs it, and it is not being fetched."""
        return not self.is_busy and (self.named or bool(self.waiting))


class Pulls:
    """What is to be fetched, and the few threads that fetch it."""

    def __init__(self, peers: Sequence[Peer], store: ShelfStore) -> None:
        """Fetch nothing before `start`."""
        self._peers, self._store = peers, store
        self._pulls: dict[Job, _Pull] = {}
        self._changed = threading.Condition()
        self._ended = threading.Event()
        self._is_named_next = False
        self._served: dict[str, float] = {}  # when something was last fetched for a member
        self._threads = [
            threading.Thread(target=self._work, name="fetcher", daemon=True)
            for _ in range(FETCHERS if peers else 0)
        ]

    def start(self) -> None:
        """Begin to fetch."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Let nobody wait any more, and end what is under way when it looks up."""
        self._ended.set()
        waiting: list[_Asked] = []
        with self._changed:
            for pull in self._pulls.values():
                waiting += pull.waiting
                pull.waiting = []  # a fetcher may have it in hand
            self._pulls.clear()
            self._changed.notify_all()
        _tell(waiting, found=False)
        for thread in self._threads:
            if thread.is_alive():
                thread.join(LAST_SECONDS)

    def want(self, task: bytes, root: bytes, member: str, *, begun: bool) -> Future[bool]:
        """Return what is true once the blob is here, false once none of the others has it.

        Parameters
        ----------
        member
            Who asks, for whom it counts if nobody knows who made it.
        begun
            Whether part of it is here: then somebody may be giving it now.
        """
        asked = _Asked(member)
        now = time.monotonic()
        with self._changed:
            pull = self._pulls.get((task, root))
            if self._is_in_vain(pull, member, now, begun=begun):
                asked.answer.set_result(False)
                return asked.answer
            if pull is None:
                pull = self._pulls[task, root] = _Pull()
            pull.member = pull.member or member
            if not pull.waiting:
                pull.again = 0.0
            pull.waiting.append(asked)
            self._changed.notify_all()
        return asked.answer

    def need(self, named: Iterable[Job]) -> None:
        """Fetch in time what the ledger names and is not here; forget what it does no more."""
        now = time.monotonic()
        wanted = set(named)
        with self._changed:
            for job, pull in self._pulls.items():
                pull.named = job in wanted
            self._tidy(now)
            for job in sorted(wanted - self._pulls.keys()):
                if len(self._pulls) < MOST_PULLS:
                    self._pulls[job] = _Pull(named=True, again=now + GRACE_SECONDS)
            self._changed.notify_all()

    def arrived(self, task: bytes, root: bytes) -> None:
        """Say that a blob is here now, whole."""
        with self._changed:
            pull = self._pulls.get((task, root))
            waiting = [] if pull is None else pull.waiting
            if pull is not None:
                pull.waiting = []
                if not pull.is_busy:
                    del self._pulls[task, root]
        _tell(waiting, found=True)

    def asker(self, task: bytes, root: bytes) -> str:
        """Return which member asked for a blob that is being fetched; empty if none did."""
        pull = self._pulls.get((task, root))
        return "" if pull is None else pull.member

    def _is_in_vain(self, pull: _Pull | None, member: str, now: float, *, begun: bool) -> bool:
        """Whether there is nothing to wait for, or no room to."""
        if not self._peers or self._ended.is_set():
            return True
        if pull is None and len(self._pulls) >= MOST_PULLS:
            self._tidy(now)
            if len(self._pulls) >= MOST_PULLS:
                return True
        listed = (each for found in self._pulls.values() for each in found.waiting)
        waiting = [each.member for each in listed if not each.answer.done()]
        if len(waiting) >= MOST_WAITING or waiting.count(member) >= MOST_OF_ONE:
            return True
        asked_just_now = pull is not None and now - pull.tried < ASKED_PAUSE_SECONDS
        return pull is not None and not pull.waiting and asked_just_now and not begun

    def _tidy(self, now: float) -> None:
        """Forget what nobody needs and nobody asked for lately."""
        for job, pull in tuple(self._pulls.items()):
            idle = not (pull.is_due or pull.is_busy)
            if idle and now - pull.tried >= ASKED_PAUSE_SECONDS:
                del self._pulls[job]

    def _work(self) -> None:
        while (found := self._next()) is not None:
            job, pull = found
            try:
                here = self._fetch(job, pull)
            except Exception:
                if self._ended.is_set():  # the connections were closed
                    return
                LOG.exception("our bug: blob %s is not fetched", job[1].hex()[:12])
                here = False
            self._settle(job, pull, here=here)

    def _next(self) -> tuple[Job, _Pull] | None:
        """Return what to fetch now; `None` at the end."""
        with self._changed:
            while not self._ended.is_set():
                now = time.monotonic()
                due = [(job, pull) for job, pull in self._pulls.items() if pull.is_due]
                ready = [each for each in due if each[1].again <= now]
                if ready:
                    job, pull = self._choose(ready, now)
                    pull.is_busy = True
                    return job, pull
                soonest = min((pull.again for _, pull in due), default=None)
                self._changed.wait(None if soonest is None else max(0.0, soonest - now))
        return None

    def _choose(self, ready: Sequence[tuple[Job, _Pull]], now: float) -> tuple[Job, _Pull]:
        """Return what is fetched next: by turns what members wait for, and what the ledger names.

        Of what members wait for, that of whoever was served longest ago.
        """
        asked = [each for each in ready if each[1].waiting]
        named = [each for each in ready if each[1].named]
        if not asked or (named and self._is_named_next):
            self._is_named_next = False
            return named[0]
        self._is_named_next = True
        found = min(asked, key=lambda each: self._served.get(each[1].member, -math.inf))
        self._served[found[1].member] = now
        return found

    def _settle(self, job: Job, pull: _Pull, *, here: bool | None) -> None:
        """Say how it went; `None` means that it is coming by itself."""
        now = time.monotonic()
        waiting: list[_Asked] = []
        with self._changed:
            pull.is_busy = False
            if here is None:
                pull.again = now + COMING_SECONDS
                return
            waiting, pull.waiting = pull.waiting, []
            if here:
                self._pulls.pop(job, None)
            else:
                pull.tried, pull.again = now, now + pull.pause
                pull.pause = min(2 * pull.pause, LONGEST_PAUSE_SECONDS)
        _tell(waiting, found=here)

    def _fetch(self, job: Job, pull: _Pull) -> bool | None:
        """Return whether a blob is here now; `None` if somebody else is giving it."""
        if self._store.has(*job):
            return True
        before, pull.held = pull.held, self._store.held(*job)
        if pull.held > before:
            return None
        for peer in self._in_turn(job[1]):
            if self._ended.is_set():
                return False
            if peer.url in pull.shunned:
                continue
            try:
                self._fetch_from(peer, job, pull)
            except OvertakenError:
                return None
            except TallyError as error:
                LOG.warning("blob %s is not fetched: %s", job[1].hex()[:12], error)
                break
            if self._store.has(*job):
                return True
        pull.held = self._store.held(*job)
        return False

    def _fetch_from(self, peer: Peer, job: Job, pull: _Pull) -> None:
        """Fetch from one node, if it serves it; errors of its own are no reason to stop."""
        try:
            peer.transfers.download(*job, is_over=self._ended.is_set)
        except OvertakenError:
            raise
        except NotThereError:
            peer.note(answered=True)
        except LyingNodeError:
            pull.shunned.add(peer.url)
        except UnavailableError as error:
            LOG.info("%s does not give blob %s: %s", peer.url, job[1].hex()[:12], error)
            peer.note(answered=False)
        else:
            peer.note(answered=True)

    def _in_turn(self, root: bytes) -> list[Peer]:
        """Return the nodes to ask, for each blob another one first; last those that are away."""
        at = root[0] % len(self._peers)
        listed = [*self._peers[at:], *self._peers[:at]]
        return sorted(listed, key=lambda peer: peer.is_away)


def _tell(waiting: Iterable[_Asked], *, found: bool) -> None:
    for each in waiting:
        if each.answer.set_running_or_notify_cancel():
            each.answer.set_result(found)
