"""Networks whose keys come from a seed: reproducible, and so good for nothing but tests.

What runs in one process and what runs on several nodes start from the same secrets here, so that
the same seed gives the same draws in both.
"""

from __future__ import annotations

from tallystick.crypto import keys
from tallystick.crypto.hashes import sha256
from tallystick.ledger.genesis import Engine, Founder, Genesis, Key, Limits, Role

__all__ = ["DEFAULT_LIMITS", "EPOCH", "FUNDS", "ROLES", "secret_of", "simulated_genesis"]

EPOCH = 1_767_225_600_000  # virtual time begins 2026-01-01T00:00:00Z
FUNDS = 1_000_000_000
ROLES: tuple[Role, ...] = ("owner", "worker", "validator")  # in the order of a founder's keys
DEFAULT_LIMITS = Limits()


def secret_of(seed: int, member: str, what: str) -> bytes:
    """Return a trial key or salt secret: reproducible, and so worthless outside simulations."""
    return sha256("trial", what.encode(), str(seed).encode(), member.encode())


def simulated_genesis(
    name: str,
    members: tuple[str, ...],
    seed: int,
    limits: Limits = DEFAULT_LIMITS,
    engine: Engine = "solo",
) -> Genesis:
    """Return a trial genesis whose keys come from a seed; the first member seals a solo ledger."""
    founders = tuple(
        Founder(
            member,
            tuple(Key(keys.public_of(secret_of(seed, member, role)), role) for role in ROLES),
            FUNDS,
        )
        for member in sorted(members)
    )
    return Genesis(
        name=name,
        time=EPOCH,
        engine=engine,
        sealer=min(members) if engine == "solo" else "",
        trial=True,
        founders=founders,
        limits=limits,
    )
