"""Name a node that lies, and keep what shows it.

Nothing a node says is believed: blocks are executed again, proofs and bytes are checked. What does
not check out is written down with everything that was said, so that its owner can be asked, and in
most cases so that a third party is convinced: seals are signatures.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

from tallystick.errors import VerificationError
from tallystick.storage.files import write_new

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Lie", "LyingNodeError", "Witness"]

LOG = logging.getLogger(__name__)
MOST_TOLD = 16  # lies of a kind that are kept of a node

Lie: TypeAlias = Literal[
    "dropped-submission",
    "false-proof",
    "false-state",
    "forked-history",
    "invalid-proposal",
    "old-head",
    "other-ledger",
    "unsealed-block",
    "withheld-blob",
    "wrong-blob",
]


class LyingNodeError(VerificationError):
    """A node said what does not check out; nothing of it was accepted.

    Attributes
    ----------
    url
        The node's address.
    kind
        What it lied about, such as ``forked-history``.
    evidence
        The file that shows it, `None` where nothing is kept.
    """

    slug: ClassVar[str] = "lying-node"

    def __init__(self, message: str, *, url: str, kind: Lie, evidence: Path | None) -> None:
        """Keep what was said apart from who said it."""
        hint = f"what shows it is in {evidence}" if evidence else ""
        super().__init__(f"{url}: {message}", hint=hint)
        self.url = url
        self.kind: Lie = kind
        self.evidence = evidence


class Witness:
    """Writes down what nodes said that was not true.

    Parameters
    ----------
    folder
        Where to; made at the first lie. `None` keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        """Have seen nothing yet."""
        self._folder = folder
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str, str], Path | None] = {}

    def name(self, url: str, kind: Lie, message: str, **facts: object) -> LyingNodeError:
        """Return the error to raise, its evidence on disk; a lie told twice is written down once.

        Parameters
        ----------
        facts
            What was said and what it is compared with; bytes become lower-case hex.
        """
        known = (url, kind, message)
        with self._lock:
            if known not in self._known:
                told = sum(each[:2] == known[:2] for each in self._known)
                if told >= MOST_TOLD:  # the first ones show enough, and a liar shall fill no disk
                    known = next(each for each in self._known if each[:2] == known[:2])
                else:
                    self._known[known] = self._write(url, kind, message, facts)
                    LOG.error("%s: %s", url, message)
        return LyingNodeError(message, url=url, kind=kind, evidence=self._known[known])

    def _write(self, url: str, kind: Lie, message: str, facts: dict[str, object]) -> Path | None:
        """Return the new file; without room for it the lie is still named."""
        if self._folder is None:
            return None
        at = time.time_ns() // 1_000_000
        document = {
            "format": "tally.evidence/1",
            "node": url,
            "lie": kind,
            "says": message,
            "time": at,
            **{name: _plain(value) for name, value in facts.items()},
        }
        data = json.dumps(document, indent=1, sort_keys=True).encode()
        path = self._folder / f"{at}-{kind}-{len(self._known)}.json"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_new(path, data)
        except OSError as error:
            LOG.error("%s: the evidence was not written: %s", path, error)  # noqa: TRY400
            return None
        return path


def _plain(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value
