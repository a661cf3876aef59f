"""Nodes' signed words that they keep a blob, so that a node that loses one can be held to it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from tallystick.codec import Record, Signature, Text, decode, encode
from tallystick.consensus.wire import Held, is_held
from tallystick.errors import DecodeError
from tallystick.storage.files import write_new

__all__ = ["Word", "Words"]

LOG = logging.getLogger(__name__)


class Word(Record):
    """What a node said, signed, and its address."""

    url: Text
    held: Held
    signature: Signature


class Words:
    """One member's words from nodes, a file each.

    Parameters
    ----------
    folder
        Where they are kept; made at the first one.
    chain
        The hash of the ledger's genesis.
    publics
        Asked for the keys a word may be signed with; in the thread that executes blocks.
    """

    def __init__(
        self, folder: Path, chain: bytes, publics: Callable[[], tuple[bytes, ...]]
    ) -> None:
        """Read nothing yet."""
        self._folder, self._chain, self._publics = folder, chain, publics
        self._now: tuple[bytes, ...] = ()
        self._lock = threading.Lock()

    def refresh(self) -> None:
        """Take note of the keys that sign now; in the thread that executes blocks."""
        self._now = self._publics()

    def keep(self, url: str, task: bytes, root: bytes, size: int, said: dict[str, object]) -> bool:
        """Keep the word in a node's answer; return whether there is one that it can be held to."""
        try:
            held = decode(Held, bytes.fromhex(str(said.get("held"))))
            word = Word(url, held, bytes.fromhex(str(said.get("signature"))))
            decode(Word, encode(word))
        except (ValueError, DecodeError):
            return False
        right = (held.task, held.root, held.size) == (task, root, size)
        if not right or not any(
            is_held(held, word.signature, public, self._chain) for public in self._now
        ):
            return False
        try:
            with self._lock:
                self._folder.mkdir(parents=True, exist_ok=True)
                write_new(self._path(task, root), encode(word))
        except OSError as error:
            LOG.warning("a node's word for blob %s is not kept: %s", root.hex()[:12], error)
        return True

    def find(self, task: bytes, root: bytes) -> Word | None:
        """Return the newest word for a blob."""
        try:
            return decode(Word, self._path(task, root).read_bytes())
        except (OSError, DecodeError):
            return None

    def _path(self, task: bytes, root: bytes) -> Path:
        return self._folder / f"{task.hex()[:16]}-{root.hex()}"
