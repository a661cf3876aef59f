"""Send a blob of a task to a node, chunk by chunk, from where the node says it goes on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

from tallystick.codec import decode
from tallystick.consensus.client import RefusedError
from tallystick.consensus.wire import API, PIECE_BYTES, Held
from tallystick.errors import DecodeError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from tallystick.consensus.client import NodeClient
    from tallystick.crypto.hashes import Buffer

__all__ = ["upload"]

CONFLICT = 409
ATTEMPTS = 6  # in a row that no node answers, or in all that lose what was there
PAUSE_SECONDS, LONGEST_SECONDS = 0.25, 4.0


def upload(
    client: NodeClient,
    task: bytes,
    root: bytes,
    data: Buffer,
    size: int,
    on_progress: Callable[[int], None] | None = None,
) -> tuple[Held, bytes] | None:
    """Send a blob; return the node's word that it keeps it, and its signature, both unchecked.

    What the node has already is not sent again, so the call may be repeated after anything.

    Parameters
    ----------
    data
        The blob, ``size`` bytes; a memory-mapped one is read chunk by chunk.
    on_progress
        Called with the number of bytes that the node has.

    Returns
    -------
    tuple or None
        `None` when the node has the blob and gave no word that can be read.

    Raises
    ------
    RefusedError
        The node does not take it: no part in the task, no room, other bytes.
    UnavailableError
        No node answers, several times in a row.
    """
    view = memoryview(cast("Any", data)).cast("B")
    offset, failed, setbacks = 0, 0, 0
    while True:
        chunk = bytes(view[offset : min(size, offset + PIECE_BYTES)])
        target = f"{API}/tasks/{task.hex()}/blobs/{root.hex()}?offset={offset}&size={size}"
        try:
            document = client.ask("PUT", target, chunk, signed=True).document()
            held = _held_in(document, size)
        except RefusedError as error:
            held = _other_offset(error, size)
            if held is None:
                raise
            document = {}
        except UnavailableError:
            failed += 1
            if failed == ATTEMPTS:
                raise
            time.sleep(min(LONGEST_SECONDS, PAUSE_SECONDS * 2**failed))
            continue
        failed = 0
        setbacks += held <= offset  # a node that forgets must not hold us up for good
        if setbacks == ATTEMPTS:
            msg = f"{client.url} does not get beyond byte {held} of blob {root.hex()}"
            raise UnavailableError(msg)
        offset = held
        if on_progress is not None:
            on_progress(offset)
        if document.get("complete") is True:
            return _word_in(document)


def _held_in(document: dict[str, Any], size: int) -> int:
    held = document.get("offset")
    if not isinstance(held, int) or not 0 <= held <= size:
        msg = "the node does not say how much of the blob it has"
        raise UnavailableError(msg)
    return held


def _other_offset(error: RefusedError, size: int) -> int | None:
    """Return where the node says that the upload goes on, if that is what it says."""
    said = error.document.get("error")
    held = cast("dict[str, Any]", said).get("offset") if isinstance(said, dict) else None
    right = error.status == CONFLICT and isinstance(held, int) and 0 <= held < size
    return held if right else None


def _word_in(document: dict[str, Any]) -> tuple[Held, bytes] | None:
    try:
        word = decode(Held, bytes.fromhex(str(document["held"])))
        return word, bytes.fromhex(str(document["signature"]))
    except (KeyError, ValueError, DecodeError):
        return None
