"""Who a member is, and how it runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tallystick.codec import encode
from tallystick.crypto.hashes import sha256
from tallystick.federation.carrier import SHARED, Carrier
from tallystick.federation.child import Children
from tallystick.federation.conduct import HONEST, Conduct
from tallystick.federation.foresight import FoldCache
from tallystick.federation.knowledge import Peer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tallystick.mechanisms.records import Key

__all__ = ["Habits", "Identity"]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a member is: its id, the index and secret of its key, and the secret behind its salts."""

    member: str
    key: int
    secret: bytes
    salt_secret: bytes

    def salt(self, key: Key) -> bytes:
        """Return the salt for a stage: the same after a restart, unknown to everybody else."""
        return sha256("salt", self.salt_secret, encode(key))


@dataclass(slots=True)
class Habits:
    """How a member runs: isolation of its trainer, its conduct, and what it shares in a process.

    Attributes
    ----------
    isolate, limit_seconds
        Train in a child process; how long a trainer may take, the window's length by default.
    approve
        Approve every task whose terms name this member.
    cache
        Attested folds shared with other members of the same process.
    children
        Where trainers run when isolated; members of one process share its cores.
    allies, peers
        Members a dishonest one works with; everybody in its process, for it to look at.
    dataset
        The root of the data set it trains on, registered and with a budget; empty without one.
    noise_secret
        What noise for privacy is drawn from in a run that can be repeated; see `MemberDesk`.
    flush
        Whether the member flushes its journal itself before anything leaves; where several share a
        process, that process flushes for all before it seals.
    only
        The name of the one task it serves; every task that names it by default.
    carrier
        How bytes get to others and from them.
    """

    isolate: bool = False
    limit_seconds: float | None = None
    approve: bool = True
    conduct: Conduct = HONEST
    cache: FoldCache = field(default_factory=FoldCache)
    children: Children = field(default_factory=Children)
    allies: frozenset[str] = frozenset()
    peers: Mapping[str, Peer] = field(default_factory=dict[str, Peer])
    dataset: bytes = b""
    noise_secret: bytes = b""
    flush: bool = True
    only: str = ""
    carrier: Carrier = SHARED
