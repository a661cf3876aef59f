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

from tallystick.consensus.client import RefusedError
from tallystick.consensus.wire import API, PIECE_BYTES
from tallystick.crypto.hashes import chunk_count
from tallystick.errors import ConfigError, TallyError, UnavailableError, VerificationError
from tallystick.storage.partial import PartialBlob

if TYPE_CHECKING:
    from tallystick.consensus.client import NodeClient
    from tallystick.consensus.witness import Witness
    from tallystick.storage.blobs import FileBlobs

__all__ = ["Courier"]

LOG = logging.getLogger(__name__)
TRANSFERS = 4
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 15.0
HASH_BYTES = 32
MOST_BLOB_BYTES = 1 << 44
MISSING, OTHER_OFFSET = 404, 409

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
    """

    def __init__(
        self,
        client: NodeClient,
        blobs: FileBlobs,
        witness: Witness,
        done: Callable[[], None],
    ) -> None:
        """Carry nothing yet."""
        self._client = client
        self._blobs = blobs
        self._witness = witness
        self._done = done
        self._pool = ThreadPoolExecutor(TRANSFERS, thread_name_prefix="courier")
        self._work: dict[Job, _Work] = {}
        self._delivered: set[tuple[bytes, bytes]] = set()
        self._ended = threading.Event()

    def fetch(self, task: bytes, root: bytes, size: int = 0) -> bool:
        """See `Carrier.fetch`."""
        if self._blobs.has(root):
            return True
        self._begin(("fetch", task, root), lambda: self._download(task, root, size))
        return False

    def deliver(self, task: bytes, root: bytes) -> bool:
        """See `Carrier.deliver`."""
        if (task, root) in self._delivered:
            return True
        self._begin(("deliver", task, root), lambda: self._upload(task, root))
        return False

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
        target = _target(task, root)
        try:
            answer = self._client.ask("GET", f"{target}/chunks", signed=True)
            found = size or self._size_of(target)
        except RefusedError as error:
            raise _not_here(error) from error
        if not 0 < found <= MOST_BLOB_BYTES:
            msg = f"{answer.url} says that blob {root.hex()[:12]} has {found} bytes"
            raise UnavailableError(msg)
        try:
            leaves = _leaves_in(answer.content, found)
            part = PartialBlob(self._blobs, root, found, leaves)
        except (ConfigError, VerificationError) as error:
            raise self._wrong(answer.url, task, root, str(error)) from error
        with closing(part):
            if part.offset < found:
                self._read_into(part, target, answer.url, task)
            part.commit()

    def _read_into(self, part: PartialBlob, target: str, url: str, task: bytes) -> None:
        headers = {"Range": f"bytes={part.offset}-"}
        try:
            with self._client.stream("GET", target, signed=True, headers=headers) as answer:
                for piece in answer.iter_bytes(PIECE_BYTES):
                    self._client.count(received=len(piece))
                    part.write(piece)
                    if self._ended.is_set():
                        msg = "the member is stopping"
                        raise UnavailableError(msg)
        except RefusedError as error:
            raise _not_here(error) from error
        except VerificationError as error:
            raise self._wrong(url, task, part.root, str(error)) from error
        if part.offset < part.size:
            msg = f"{url} broke off at byte {part.offset} of {part.size}"
            raise UnavailableError(msg)

    def _size_of(self, target: str) -> int:
        with self._client.stream("HEAD", target, signed=True) as answer:
            text = answer.headers.get("content-length", "")
            return int(text) if text.isdigit() and len(text) < len("9" * 19) else 0

    def _upload(self, task: bytes, root: bytes) -> None:
        data = self._blobs.open(root)
        target, size, offset = _target(task, root), data.nbytes, 0
        try:
            self._size_of(target)
        except RefusedError as error:
            if error.status != MISSING:
                raise _not_here(error) from error
        else:
            self._delivered.add((task, root))
            return
        while offset < size:
            piece = data[offset : offset + PIECE_BYTES].tobytes()
            where = f"{target}?offset={offset}&size={size}"
            try:
                answer = self._client.ask("PUT", where, piece, signed=True).document()
                offset = int(answer["offset"])
            except RefusedError as error:
                if error.status != OTHER_OFFSET:
                    raise _not_here(error) from error
                offset = int(error.document["error"].get("offset", 0))
            if self._ended.is_set():
                msg = "the member is stopping"
                raise UnavailableError(msg)
        self._delivered.add((task, root))

    def _wrong(self, url: str, task: bytes, root: bytes, message: str) -> VerificationError:
        """Name a node that serves other bytes, and ask another first from now on."""
        says = f"it serves other bytes as blob {root.hex()}: {message}"
        error = self._witness.name(url, "wrong-blob", says, task=task, root=root)
        LOG.warning("%s", error)
        self._client.turn()
        return error


def _target(task: bytes, root: bytes) -> str:
    return f"{API}/tasks/{task.hex()}/blobs/{root.hex()}"


def _leaves_in(data: bytes, size: int) -> list[bytes]:
    """Return the chunk hashes of an answer; as many as a blob of ``size`` bytes has."""
    if len(data) != HASH_BYTES * chunk_count(size):
        msg = f"{len(data)} bytes of chunk hashes for a blob of {size} bytes"
        raise VerificationError(msg)
    return [data[start : start + HASH_BYTES] for start in range(0, len(data), HASH_BYTES)]


def _not_here(error: RefusedError) -> UnavailableError:
    return UnavailableError(f"the node does not serve it: {error}")
