"""Carry blobs between a member's folder and its nodes, in the background.

An update goes up once; what others made comes down once, each chunk checked as it comes. What is
cut off goes on from there, also after this process has ended. Nothing is whole in memory.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tallystick.codec import encode
from tallystick.consensus.client import RefusedError, number_of
from tallystick.consensus.wire import API, PIECE_BYTES
from tallystick.consensus.witness import LyingNodeError
from tallystick.crypto.hashes import CHUNK_BYTES, chunk_count, root_of_chunks
from tallystick.errors import TallyError, UnavailableError, VerificationError
from tallystick.storage.partial import PartialBlob

if TYPE_CHECKING:
    from tallystick.consensus.client import Answer, NodeClient
    from tallystick.consensus.witness import Witness
    from tallystick.federation.words import Words
    from tallystick.storage.blobs import FileBlobs
    from tallystick.tensors.dtypes import Array

__all__ = ["Courier"]

LOG = logging.getLogger(__name__)
TRANSFERS = 4
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 15.0
HASH_BYTES = 32
MOST_BLOB_BYTES = 1 << 44
MISSING, OTHER_OFFSET, WHOLE = 404, 409, 200
MOST_DETOURS = 8  # how often a node may say that an upload goes on elsewhere
STALLED_SECONDS = 60.0  # without a chunk, until another node is asked
RECHECK_SECONDS = 60.0  # until a node is asked again whether it still has what it took

Job = tuple[str, bytes, bytes]  # what is done, for which task, with which blob


@dataclass(slots=True)
class _Work:
    """A transfer: under way, or waiting until it is tried again."""

    future: Future[None]
    pause_seconds: float = FIRST_PAUSE_SECONDS
    again: float = 0.0


class Courier:
    """A `tallystick.federation.carrier.Carrier` over HTTP.

    Parameters
    ----------
    done
        Called, from another thread, whenever a transfer has ended well.
    words
        Where nodes' words are kept that they hold what was handed to them; without it they are
        asked for none.
    """

    def __init__(
        self,
        client: NodeClient,
        blobs: FileBlobs,
        witness: Witness,
        done: Callable[[], None],
        words: Words | None = None,
    ) -> None:
        """Carry nothing yet."""
        self._words = words
        self._client = client
        self._blobs = blobs
        self._witness = witness
        self._done = done
        self._pool = ThreadPoolExecutor(TRANSFERS, thread_name_prefix="courier")
        self._work: dict[Job, _Work] = {}
        self._delivered: dict[tuple[bytes, bytes], float] = {}  # when that was last seen
        self._ended = threading.Event()

    def fetch(self, task: bytes, root: bytes, size: int = 0) -> bool:
        """See `Carrier.fetch`."""
        if self._blobs.has(root):
            return True
        self._begin(("fetch", task, root), lambda: self._download(task, root, size))
        return False

    def deliver(self, task: bytes, root: bytes) -> bool:
        """See `Carrier.deliver`."""
        if self._words is not None:
            self._words.refresh()
        seen = self._delivered.get((task, root))
        if seen is None or time.monotonic() - seen > RECHECK_SECONDS:
            self._begin(("deliver", task, root), lambda: self._upload(task, root))
        return seen is not None

    @property
    def is_busy(self) -> bool:
        """Whether anything is under way."""
        return any(not work.future.done() for work in self._work.values())

    @property
    def is_waiting(self) -> bool:
        """Whether something failed and is to be tried again."""
        return any(work.future.done() for work in self._work.values())

    def settle(self) -> None:
        """Forget what has ended well."""
        for job, work in tuple(self._work.items()):
            if work.future.done() and not work.future.exception():
                del self._work[job]

    def close(self) -> None:
        """End what is under way; it goes on from there next time."""
        self._ended.set()
        self._pool.shutdown(cancel_futures=True)

    def _begin(self, job: Job, work: Callable[[], None]) -> None:
        """Start a transfer unless it is under way, or failed a moment ago."""
        known = self._work.get(job)
        if known is not None:
            if not known.future.done() or time.monotonic() < known.again:
                return
            error = known.future.exception()
            if error is None:
                del self._work[job]
            elif not known.again:
                self._put_off(job, known, error)
                return
        future = self._pool.submit(self._run, work)
        pause = FIRST_PAUSE_SECONDS if known is None else known.pause_seconds
        self._work[job] = _Work(future, pause)

    def _put_off(self, job: Job, work: _Work, error: BaseException) -> None:
        what, _, root = job
        LOG.info("cannot %s blob %s yet: %s", what, root.hex()[:12], error)
        work.again = time.monotonic() + work.pause_seconds
        work.pause_seconds = min(2 * work.pause_seconds, LONGEST_PAUSE_SECONDS)

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except TallyError:
            raise
        except Exception as error:
            LOG.exception("a transfer failed")
            raise UnavailableError(str(error)) from error
        finally:
            self._done()

    def _download(self, task: bytes, root: bytes, size: int) -> None:
        """Get a blob from the first node that has it, all of its bytes from that one."""
        failure: TallyError = UnavailableError("no node is left to ask")
        for url in self._client.order:
            try:
                self._download_from(url, task, root, size)
            except RefusedError as error:
                failure = _not_here(error)
            except (UnavailableError, LyingNodeError) as error:
                failure = error
            else:
                return
            self._client.turn(url)
            if self._ended.is_set():
                break
        raise failure

    def _download_from(self, url: str, task: bytes, root: bytes, size: int) -> None:
        target = _target(task, root)
        listed = self._client.ask("GET", f"{target}/chunks", signed=True, at=url).content
        found = size
        if not size or not _is_root(root, size, listed):  # whoever recorded the size may be wrong
            found = self._size_at(url, target)[1]
            if not 0 < found <= MOST_BLOB_BYTES:
                msg = f"{url} does not say how long blob {root.hex()[:12]} is"
                raise UnavailableError(msg)
            if not _is_root(root, found, listed):
                raise self._wrong(url, task, root, "these are not its chunks' hashes")
        if size and found != size:
            msg = f"blob {root.hex()[:12]} has {found} bytes, not the {size} that were recorded"
            raise UnavailableError(msg)
        leaves = [listed[start : start + HASH_BYTES] for start in range(0, len(listed), HASH_BYTES)]
        with closing(PartialBlob(self._blobs, root, found, leaves)) as part:
            if part.offset < found:
                self._read_into(part, target, url, task)
            part.commit()

    def _read_into(self, part: PartialBlob, target: str, url: str, task: bytes) -> None:
        headers = {"Range": f"bytes={part.offset}-"}
        kept, since = part.offset, time.monotonic()
        try:
            with self._client.stream("GET", target, signed=True, headers=headers, at=url) as answer:
                skipped = part.offset if answer.status == WHOLE else 0
                for piece in answer.pieces:
                    self._client.count(received=len(piece))
                    part.write(piece[skipped:])
                    skipped = max(0, skipped - len(piece))
                    self._check_ended()
                    now = time.monotonic()
                    if part.offset > kept:
                        kept, since = part.offset, now
                    elif now - since > STALLED_SECONDS:
                        msg = f"{url} stalls at byte {part.offset} of {part.size}"
                        raise UnavailableError(msg)
        except VerificationError as error:
            raise self._wrong(url, task, part.root, str(error)) from error
        if part.offset < part.size:
            msg = f"{url} broke off at byte {part.offset} of {part.size}"
            raise UnavailableError(msg)

    def _size_at(self, url: str, target: str) -> tuple[str, int]:
        """Return who answers, and which size; -1 for none."""
        with self._client.stream("HEAD", target, signed=True, at=url) as answer:
            return answer.url, number_of(answer.headers.get("content-length", ""))

    def _upload(self, task: bytes, root: bytes) -> None:
        data = self._blobs.open(root)
        target, size = _target(task, root), data.nbytes
        try:
            try:
                url, found = self._size_at("", target)
                has_it = found == size
            except RefusedError as error:
                if error.status != MISSING:
                    raise
                url, has_it = error.url, False
            if has_it:
                self._ask_for_word(url, task, root, size)
            else:
                self._delivered.pop((task, root), None)
                self._hold_to_word(url, task, root)
                self._send(url, task, root, data)
        except RefusedError as error:
            raise _not_here(error) from error
        self._delivered[task, root] = time.monotonic()

    def _send(self, url: str, task: bytes, root: bytes, data: Array) -> None:
        """Send a blob to one node, from where it says; keep its word that it has it."""
        target, size, offset = _target(task, root), data.nbytes, 0
        detours, answer = 0, None
        while offset < size:
            piece = data[offset : offset + PIECE_BYTES].tobytes()
            where = f"{target}?offset={offset}&size={size}"
            try:
                answer = self._client.ask("PUT", where, piece, signed=True, at=url)
                told = answer.document().get("offset")
                is_right = told == offset + len(piece) or told == size
            except RefusedError as error:
                if error.status != OTHER_OFFSET:
                    raise
                told, detours = error.document["error"].get("offset"), detours + 1
                is_right = detours <= MOST_DETOURS and told in range(0, size, CHUNK_BYTES)
            if not is_right or not isinstance(told, int):
                self._client.turn(url)
                msg = f"{url} does not take blob {root.hex()[:12]} as a node does"
                raise UnavailableError(msg)
            offset = told
            self._check_ended()
        self._keep_word(answer, task, root, size)

    def _ask_for_word(self, url: str, task: bytes, root: bytes, size: int) -> None:
        """Get a node's word for a blob it has already."""
        if self._words is None or self._words.find(task, root) is not None:
            return
        where = f"{_target(task, root)}?offset={size}&size={size}"
        self._keep_word(self._client.ask("PUT", where, signed=True, at=url), task, root, size)

    def _keep_word(self, answer: Answer | None, task: bytes, root: bytes, size: int) -> None:
        if self._words is None or answer is None:
            return
        if not self._words.keep(answer.url, task, root, size, answer.document()):
            self._client.turn(answer.url)
            msg = f"{answer.url} does not give its word for blob {root.hex()[:12]}"
            raise UnavailableError(msg)

    def _hold_to_word(self, url: str, task: bytes, root: bytes) -> None:
        """Name a node that has not got what it gave its word for; it gets it again."""
        word = None if self._words is None else self._words.find(task, root)
        if word is None or word.url != url:
            return
        says = f"it does not serve blob {root.hex()}, for which it gave its word"
        held, signature = encode(word.held), word.signature
        self._witness.name(
            url, "withheld-blob", says, task=task, root=root, held=held, signature=signature
        )

    def _check_ended(self) -> None:
        if self._ended.is_set():
            msg = "the member is stopping"
            raise UnavailableError(msg)

    def _wrong(self, url: str, task: bytes, root: bytes, message: str) -> LyingNodeError:
        """Name a node that serves other bytes."""
        says = f"it serves other bytes as blob {root.hex()}: {message}"
        return self._witness.name(url, "wrong-blob", says, task=task, root=root)


def _target(task: bytes, root: bytes) -> str:
    return f"{API}/tasks/{task.hex()}/blobs/{root.hex()}"


def _is_root(root: bytes, size: int, listed: bytes) -> bool:
    """Whether these are the hashes of the chunks of a blob of ``size`` bytes."""
    if size <= 0 or len(listed) != HASH_BYTES * chunk_count(size):
        return False
    leaves = [listed[start : start + HASH_BYTES] for start in range(0, len(listed), HASH_BYTES)]
    return root_of_chunks(leaves, size) == root


def _not_here(error: RefusedError) -> UnavailableError:
    return UnavailableError(f"the node does not serve it: {error}")
