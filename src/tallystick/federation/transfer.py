"""Move one blob between what is here and nodes, whatever breaks on the way.

Each chunk is checked as it comes. What is cut off goes on from there, also after this process has
ended. Nothing is whole in memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, ClassVar

from tallystick.codec import encode
from tallystick.consensus.client import RefusedError, number_of
from tallystick.consensus.wire import API, PIECE_BYTES, SIZE_HEADER
from tallystick.consensus.witness import LyingNodeError
from tallystick.crypto.hashes import CHUNK_BYTES, chunk_count, root_of_chunks
from tallystick.errors import TallyError, UnavailableError, VerificationError

if TYPE_CHECKING:
    from tallystick.consensus.client import Answer, NodeClient
    from tallystick.consensus.witness import Witness
    from tallystick.federation.stores import Part, Source, Store
    from tallystick.federation.words import Words

__all__ = ["NotThereError", "Transfers"]

HASH_BYTES = 32
MOST_BLOB_BYTES = 1 << 44
MISSING, OTHER_OFFSET, WHOLE = 404, 409, 200
MOST_DETOURS = 8  # how often a node may say that an upload goes on elsewhere
PAUSE_SECONDS = 0.1  # after a break, while there is progress
STALLED_SECONDS = 60.0  # without a chunk, until another node is asked


def _never() -> bool:
    return False


def _nothing() -> None:
    return


def _ignore(_: int) -> None:
    return


class NotThereError(UnavailableError):
    """A node answers, and does not serve the blob or does not take it."""

    slug: ClassVar[str] = "not-there"


class Transfers:
    """Downloads and uploads, one at a time in each thread.

    Parameters
    ----------
    store
        Where blobs lie here.
    words
        Where nodes' words are kept that they hold what was handed to them; without it they are
        asked for none.
    """

    def __init__(
        self, client: NodeClient, store: Store, witness: Witness, words: Words | None = None
    ) -> None:
        """Move nothing yet."""
        self._client = client
        self._store = store
        self._witness = witness
        self._words = words

    def download(
        self, task: bytes, root: bytes, size: int = 0, *, is_over: Callable[[], bool] = _never
    ) -> None:
        """Get a blob from the first node that has it, all of its bytes from that one.

        Parameters
        ----------
        size
            In bytes, where it is known.
        is_over
            Asked now and then: what is true leaves the rest for later.

        Raises
        ------
        NotThereError
            The last node that was asked does not serve it.
        UnavailableError
            No node has it or answers; what came of it is kept.
        LyingNodeError
            A node served other bytes.
        """
        if self._store.has(task, root):
            return
        failure: TallyError = UnavailableError("no node is left to ask")
        for url in self._client.order:
            try:
                self._persist(url, task, root, size, is_over)
            except RefusedError as error:
                failure = _not_here(error)
            except (UnavailableError, LyingNodeError) as error:
                failure = error
            else:
                return
            self._client.turn(url)
            if is_over():
                break
        raise failure

    def _persist(
        self, url: str, task: bytes, root: bytes, size: int, is_over: Callable[[], bool]
    ) -> None:
        """Repeat a download that breaks off for as long as each try brings something."""
        held = -1
        while True:
            try:
                self._download_from(url, task, root, size, is_over)
            except UnavailableError:
                before, held = held, self._store.held(task, root)
                if held <= before or is_over():
                    raise
                time.sleep(PAUSE_SECONDS)
            else:
                return

    def _download_from(
        self, url: str, task: bytes, root: bytes, size: int, is_over: Callable[[], bool]
    ) -> None:
        target = _target(task, root)
        answer = self._client.ask("GET", f"{target}/chunks", signed=True, at=url)
        listed, found = answer.content, size
        if not size or not _is_root(root, size, listed):  # whoever recorded the size may be wrong
            found = number_of(answer.headers.get(SIZE_HEADER, ""))
            found = found if found > 0 else self._size_at(url, target)[1]
            if not 0 < found <= MOST_BLOB_BYTES:
                msg = f"{url} does not say how long blob {root.hex()[:12]} is"
                raise UnavailableError(msg)
            if not _is_root(root, found, listed):
                raise self._wrong(url, task, root, "these are not its chunks' hashes")
        if size and found != size:
            msg = f"blob {root.hex()[:12]} has {found} bytes, not the {size} that were recorded"
            raise UnavailableError(msg)
        leaves = [listed[start : start + HASH_BYTES] for start in range(0, len(listed), HASH_BYTES)]
        with closing(self._store.begin(task, root, found, leaves)) as part:
            if part.offset < found:
                self._read_into(part, url, task, is_over)
            part.commit()

    def _read_into(self, part: Part, url: str, task: bytes, is_over: Callable[[], bool]) -> None:
        target = _target(task, part.root)
        headers = {"Range": f"bytes={part.offset}-"}
        kept, since = part.offset, time.monotonic()
        try:
            with self._client.stream("GET", target, signed=True, headers=headers, at=url) as answer:
                skipped = part.offset if answer.status == WHOLE else 0
                for piece in answer.pieces:
                    self._client.count(received=len(piece))
                    part.write(piece[skipped:])
                    skipped = max(0, skipped - len(piece))
                    _check_going_on(is_over)
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

    def is_there(self, task: bytes, root: bytes) -> bool:
        """Return whether a node serves a blob; raises as `NodeClient.ask`."""
        try:
            self._size_at("", _target(task, root))
        except RefusedError as error:
            if error.status != MISSING:
                raise
            return False
        return True

    def upload(
        self,
        task: bytes,
        root: bytes,
        *,
        is_over: Callable[[], bool] = _never,
        missing: Callable[[], None] = _nothing,
        progress: Callable[[int], None] = _ignore,
    ) -> None:
        """Hand a blob that is here to the first node that answers; what it has is not sent again.

        Parameters
        ----------
        missing
            Called when the node turns out not to have it.
        progress
            Called with how many bytes the node has.

        Raises
        ------
        UnavailableError
            No node takes it now; the same call goes on where this one ended.
        """
        source = self._store.open(task, root)
        size = source.size
        try:
            try:
                url, found = self._size_at("", _target(task, root))
                has_it = found == size
            except RefusedError as error:
                if error.status != MISSING:
                    raise
                url, has_it = error.url, False
            if has_it:
                self._ask_for_word(url, task, root, size)
                progress(size)
            else:
                missing()
                self._hold_to_word(url, task, root)
                answer = self.send(url, task, root, source, is_over=is_over, progress=progress)
                if answer is None:
                    self._ask_for_word(url, task, root, size)
                else:
                    self._keep_word(answer, task, root, size)
        except RefusedError as error:
            raise _not_here(error) from error

    def send(
        self,
        url: str,
        task: bytes,
        root: bytes,
        source: Source,
        *,
        is_over: Callable[[], bool] = _never,
        progress: Callable[[int], None] = _ignore,
    ) -> Answer | None:
        """Send a blob to one node, from where it says; return its last answer.

        There is none where the node turns out to have the blob.

        Raises
        ------
        RefusedError
            The node does not take it.
        UnavailableError
            The node is away; the same call goes on where this one ended.
        """
        target, size = _target(task, root), source.size
        offset = self._plan(url, target, source)
        detours, answer, moved = 0, None, True
        while offset < size:
            piece = source.read(offset, PIECE_BYTES)
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
            except UnavailableError:
                if not moved:
                    raise
                moved = False
                _check_going_on(is_over)
                time.sleep(PAUSE_SECONDS)
                continue
            if not is_right or not isinstance(told, int):
                self._client.turn(url)
                msg = f"{url} does not take blob {root.hex()[:12]} as a node does"
                raise UnavailableError(msg)
            if told > offset:
                moved, detours = True, 0
            offset = told
            progress(offset)
            _check_going_on(is_over)
        return answer

    def _plan(self, url: str, target: str, source: Source) -> int:
        """Say which chunks will come, so that nobody else can spoil it; return where to go on."""
        size = source.size
        if chunk_count(size) * HASH_BYTES > PIECE_BYTES:
            return 0
        where = f"{target}/chunks?size={size}"
        answer = self._client.ask("PUT", where, source.hashes(), signed=True, at=url)
        told = answer.document().get("offset")
        known = told == size or told in range(0, size, CHUNK_BYTES)
        return told if known and isinstance(told, int) else 0

    def _ask_for_word(self, url: str, task: bytes, root: bytes, size: int) -> None:
        """Get a node's word for a blob it has already."""
        if self._words is None or self._words.find(task, root) is not None:
            return
        where = f"{_target(task, root)}?offset={size}&size={size}"
        self._keep_word(self._client.ask("PUT", where, signed=True, at=url), task, root, size)

    def _keep_word(self, answer: Answer, task: bytes, root: bytes, size: int) -> None:
        if self._words is None:
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


def _not_here(error: RefusedError) -> NotThereError:
    return NotThereError(f"the node does not serve it: {error}")


def _check_going_on(is_over: Callable[[], bool]) -> None:
    if is_over():
        msg = "the transfer is left for later"
        raise UnavailableError(msg)
