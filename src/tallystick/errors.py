"""Every error a caller can act on, in one tree.

A rejection carries a stable ``code`` and becomes a receipt; its text is never hashed. Codes are
never reused: 1xx transactions, 2xx blocks, 3xx mechanisms, 4xx contracts, 5xx rounds. The class
that raises one lives beside the rule it enforces; this module holds the base classes.
"""

from __future__ import annotations

from typing import ClassVar, TypeVar

__all__ = [
    "ConfigError",
    "DecodeError",
    "InvariantError",
    "MissingExtraError",
    "RejectedError",
    "TallyError",
    "UnavailableError",
    "VerificationError",
    "to_keep",
]


class TallyError(Exception):
    """Anything this package refuses or cannot do; ``hint`` says what to do about it."""

    slug: ClassVar[str] = "error"

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        """Keep the sentence for people and the hint apart."""
        super().__init__(message or self.slug)
        self.hint = hint


class RejectedError(TallyError):
    """Deterministic refusal with a stable code; it becomes a receipt and changes nothing.

    Attributes
    ----------
    recorded
        Whether the attempt itself belongs on the record: a block then keeps the transaction with
        its code, and its nonce is spent, so that it is recorded once.
    """

    slug: ClassVar[str] = "rejected"
    code: ClassVar[int] = 100
    recorded: ClassVar[bool] = False


class VerificationError(TallyError):
    """A proof, log, signature or bundle does not check out."""

    slug: ClassVar[str] = "verification-failed"


class DecodeError(TallyError):
    """Bytes that are not the one canonical encoding of what they claim to be."""

    slug: ClassVar[str] = "malformed"


class ConfigError(TallyError):
    """The caller asked for something that does not exist or contradicts itself."""

    slug: ClassVar[str] = "bad-input"


class MissingExtraError(ConfigError):
    """An optional dependency is not installed; the hint names the command that installs it."""

    slug: ClassVar[str] = "missing-extra"

    def __init__(self, extra: str, needed_for: str) -> None:
        """Name the extra and what needs it."""
        super().__init__(
            f"{needed_for} needs the optional extra '{extra}'",
            hint=f"pip install 'tallystick[{extra}]'",
        )
        self.extra = extra


class UnavailableError(TallyError):
    """Storage, a peer or an engine did not answer; the same call may be repeated later."""

    slug: ClassVar[str] = "unavailable"


class InvariantError(RuntimeError):
    """Our own bug: outside the tree, so that no handler swallows it."""


E = TypeVar("E", bound=BaseException)


def to_keep(error: E) -> E:
    """Return the error without the frames it was raised in, which keep all that they worked on."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
