"""How a member behaves: honestly, unless a simulation says otherwise.

Attacks change only what their member says or keeps silent about; ledger and other members treat it
like anybody else. What an attacker may look at before it speaks is its `Knowledge`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from tallystick.codec import encode
from tallystick.crypto.hashes import sha256
from tallystick.federation.arrays import Arrays

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from tallystick.mechanisms.records import Artefact, Key, Output, Subject

__all__ = ["HONEST", "WINDOWS", "Conduct", "Honest", "Knowledge", "Moment", "Scores"]

WINDOWS = ("seal", "reveal", "record", "hold", "attest")

Scores = list[int | None]


@dataclass(frozen=True, slots=True)
class Moment:
    """One window of a stage, in which a member acts or keeps silent.

    Attributes
    ----------
    kind
        The folder of the stage's rule: ``submit``, ``score``, ``aggregate`` and so on.
    window
        One of `WINDOWS`.
    secret
        What the member's own dice come from.
    """

    kind: str
    key: Key
    window: str
    secret: bytes = field(default=b"", repr=False)

    @property
    def chance(self) -> float:
        """A number from 0 up to 1: the same whenever this member looks at this window."""
        drawn = sha256("chance", self.secret, encode((self.key, self.window)))
        return int.from_bytes(drawn[:6]) / 2**48


class Knowledge(Protocol):
    """What a member may look at in one stage; updates are read or trained when asked for.

    An update is what it adds to its parent: by tensor, float64, of the model's shapes.

    Attributes
    ----------
    member
        Whose knowledge it is; ``allied`` names everybody who cheats in this simulation, it too.
    parent
        Root and size of the model the stage builds on.
    last
        What this stage listed in the last completed round; empty before there is one.
    """

    @property
    def member(self) -> str: ...  # noqa: D102
    @property
    def allied(self) -> frozenset[str]: ...  # noqa: D102
    @property
    def parent(self) -> tuple[bytes, int]: ...  # noqa: D102
    @property
    def last(self) -> tuple[Subject, ...]: ...  # noqa: D102

    def allies(self) -> Mapping[str, Arrays]:
        """Return each ally's own update of this round as its trainer gave it, by name.

        Allies who are not asked to train, or whose trainer failed, are missing.
        """
        ...

    def revealed(self) -> Mapping[str, Arrays]:
        """Return the last completed round's live updates by author; members may read them all."""
        ...

    def everybody(self) -> Mapping[str, Arrays]:
        """Return every honest member's update of this round, by name.

        No member of a sealed stage can have this; it is for attacks that say they are omniscient.
        """
        ...


class Conduct(Protocol):
    """The points at which a member may deviate."""

    def present(self, moment: Moment) -> bool:
        """Whether it acts in a window; setup is always attended."""
        ...

    def choose_artefact(self, knowledge: Knowledge) -> Artefact | None:
        """Return an artefact to submit without training, `None` to train as agreed."""
        ...

    def choose_parent(self, knowledge: Knowledge) -> tuple[bytes, int]:
        """Return root and size of the model it trains from and names as its parent."""
        ...

    def poison_update(
        self,
        trained: Arrays,
        parent: Arrays,
        generator: np.random.Generator,
        knowledge: Knowledge,
    ) -> Arrays | None:
        """Return the parameters it submits, `None` for none; the inputs stay as they are."""
        ...

    def poison_scores(
        self,
        vector: Scores,
        subjects: Sequence[Subject],
        generator: np.random.Generator,
        knowledge: Knowledge,
    ) -> Scores:
        """Return the scores it gives.

        ``vector`` ends with one score a subject, in the subjects' order; what comes before them is
        the base model's. ``None`` marks a subject it must not score.
        """
        ...

    def poison_holds(
        self, vector: list[int], subjects: Sequence[Subject], knowledge: Knowledge
    ) -> list[int]:
        """Return which artefacts it says it holds: 1 or 0 a subject."""
        ...

    def poison_output(self, output: Output, kind: str, knowledge: Knowledge) -> Output:
        """Return the output it signs, and opens, for an attested stage of a kind of rule."""
        ...

    def poison_signature(self, signature: bytes) -> bytes:
        """Return the 64 bytes it sends as its signature over an output; each time the same."""
        ...


class Honest:
    """The conduct of a member that does what it agreed to."""

    def present(self, moment: Moment) -> bool:  # noqa: ARG002 - a hook's signature, here and below
        """See `Conduct.present`."""
        return True

    def choose_artefact(self, knowledge: Knowledge) -> Artefact | None:  # noqa: ARG002
        """See `Conduct.choose_artefact`."""
        return None

    def choose_parent(self, knowledge: Knowledge) -> tuple[bytes, int]:
        """See `Conduct.choose_parent`."""
        return knowledge.parent

    def poison_update(
        self,
        trained: Arrays,
        parent: Arrays,  # noqa: ARG002
        generator: np.random.Generator,  # noqa: ARG002
        knowledge: Knowledge,  # noqa: ARG002
    ) -> Arrays | None:
        """See `Conduct.poison_update`."""
        return trained

    def poison_scores(
        self,
        vector: Scores,
        subjects: Sequence[Subject],  # noqa: ARG002
        generator: np.random.Generator,  # noqa: ARG002
        knowledge: Knowledge,  # noqa: ARG002
    ) -> Scores:
        """See `Conduct.poison_scores`."""
        return vector

    def poison_holds(
        self,
        vector: list[int],
        subjects: Sequence[Subject],  # noqa: ARG002
        knowledge: Knowledge,  # noqa: ARG002
    ) -> list[int]:
        """See `Conduct.poison_holds`."""
        return vector

    def poison_output(self, output: Output, kind: str, knowledge: Knowledge) -> Output:  # noqa: ARG002
        """See `Conduct.poison_output`."""
        return output

    def poison_signature(self, signature: bytes) -> bytes:
        """See `Conduct.poison_signature`."""
        return signature


HONEST = Honest()
