"""Drop-out at one stage of a round: a member that is there, except when it counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tallystick.lab.attacks.attack import Attack

if TYPE_CHECKING:
    from tallystick.federation.conduct import Moment

__all__ = [
    "DropoutAttest",
    "DropoutHold",
    "DropoutReveal",
    "DropoutScore",
    "DropoutSeal",
]


@dataclass(frozen=True, slots=True)
class _Dropout(Attack):
    """Miss some windows, each with a probability of ``strength`` (1 by default).

    Whether it misses one is drawn from the member's own secret and the window's key: the same
    after a restart, and for all tries of a window.
    """

    default_strength: ClassVar[float | None] = 1.0
    most_strength: ClassVar[float] = 1.0
    kind: ClassVar[str | None] = None
    windows: ClassVar[tuple[str, ...]] = ()

    def present(self, moment: Moment) -> bool:
        """See `Conduct.present`."""
        meant = self.kind in {None, moment.kind} and moment.window in self.windows
        return not meant or moment.chance >= self.power


@dataclass(frozen=True, slots=True)
class DropoutSeal(_Dropout):
    """Send no update, not even a seal, with a probability of ``strength``.

    Its author needs to know nothing; it does everything else.
    """

    name: ClassVar[str] = "dropout-seal"
    kind: ClassVar[str | None] = "submit"
    windows: ClassVar[tuple[str, ...]] = ("seal", "record")


@dataclass(frozen=True, slots=True)
class DropoutReveal(_Dropout):
    """Seal an update and not reveal it, with a probability of ``strength``.

    Its author needs to know nothing; it does everything else.
    """

    name: ClassVar[str] = "dropout-reveal"
    kind: ClassVar[str | None] = "submit"
    windows: ClassVar[tuple[str, ...]] = ("reveal",)


@dataclass(frozen=True, slots=True)
class DropoutHold(_Dropout):
    """Not say which artefacts it holds, with a probability of ``strength``.

    Its author needs to know nothing; it does everything else.
    """

    name: ClassVar[str] = "dropout-hold"
    windows: ClassVar[tuple[str, ...]] = ("hold",)


@dataclass(frozen=True, slots=True)
class DropoutAttest(_Dropout):
    """Sign and open no output of an attested stage, with a probability of ``strength``.

    Its author needs to know nothing; it does everything else.
    """

    name: ClassVar[str] = "dropout-attest"
    windows: ClassVar[tuple[str, ...]] = ("attest",)


@dataclass(frozen=True, slots=True)
class DropoutScore(_Dropout):
    """Miss each window of a scoring stage with a probability of ``strength``.

    Its author needs to know nothing; it does everything else. Always missing them is
    `silent-scorer`.
    """

    name: ClassVar[str] = "dropout-score"
    kind: ClassVar[str | None] = "score"
    windows: ClassVar[tuple[str, ...]] = ("seal", "reveal", "record")
