"""What a node answered, read with care: none of it is believed, and little of it is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from tallystick.errors import TallyError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

__all__ = [
    "MOST_DOCUMENT_BYTES",
    "Answer",
    "BrokenOffError",
    "Opened",
    "RefusedError",
    "error_in",
    "number_of",
]

MOST_DOCUMENT_BYTES = 1 << 21  # of JSON, which takes many times that in memory
MOST_DIGITS = 18


class BrokenOffError(UnavailableError):
    """An answer began and did not end; what came of it is worth nothing."""

    slug: ClassVar[str] = "broken-off"


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
    url
        The node's address.
    """

    slug: ClassVar[str] = "refused"

    def __init__(
        self, message: str, *, url: str, status: int, code: str, document: dict[str, Any]
    ) -> None:
        """Keep the node's words apart."""
        super().__init__(message)
        self.url = url
        self.status = status
        self.code = code
        self.document = document


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
        document = _document_in(self.content)
        if document is None:
            msg = f"{self.url} does not answer as a node does"
            raise UnavailableError(msg)
        return document


@dataclass(frozen=True, slots=True)
class Opened:
    """An answer whose bytes are still to come, and which node's it is."""

    url: str
    status: int
    headers: httpx.Headers
    pieces: Iterator[bytes]


def number_of(text: str) -> int:
    """Return the number a header says, -1 where it says none; `str.isdigit` knows other digits."""
    right = text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS
    return int(text) if right else -1


def _document_in(content: bytes) -> dict[str, Any] | None:
    """Return the JSON object that bytes hold, if they do and it is of a bearable size."""
    if len(content) > MOST_DOCUMENT_BYTES:
        return None
    try:
        return msgspec.json.decode(content, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None


def error_in(content: bytes, status: int) -> tuple[str, str, dict[str, Any]]:
    """Return code, message and document of a refusal, whatever it holds."""
    document = _document_in(content) or {}
    try:
        said: dict[str, Any] = msgspec.convert(document.get("error"), dict[str, Any])
    except msgspec.ValidationError:
        return "http", f"status {status}", {}
    return _tame(said.get("code"), 64), _tame(said.get("message"), 500), document


def _tame(said: object, most: int) -> str:
    """Return a node's words as one line that moves no cursor; they end up in logs."""
    return "".join(each if each.isprintable() else " " for each in str(said)[:most])
