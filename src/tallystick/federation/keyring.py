"""A member's secrets: three keys and what its salts come from.

A role keeps every secret it has had, oldest first; which of them acts is looked up on the ledger,
so a crash between making a key and rotating to it leaves no member without one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast, get_args

from tallystick.crypto import keys
from tallystick.errors import ConfigError
from tallystick.federation.habits import Identity
from tallystick.federation.names import check_name
from tallystick.ledger.contracts.members import MEMBERS
from tallystick.ledger.genesis import Role

if TYPE_CHECKING:
    from tallystick.ledger.contracts.members import Member
    from tallystick.ledger.state import State

__all__ = ["Keyring", "new_keyring"]


@dataclass(frozen=True, slots=True)
class Keyring:
    """A member's name and secrets; its ``repr`` shows none of them.

    Attributes
    ----------
    name
        The member's id on the ledger.
    owner, worker, validator
        Secrets of 32 bytes by role, oldest first, at least one each.
    salt
        What the member's salts are derived from, 32 bytes; it stays when keys change, or a member
        could not reveal what it sealed before.
    """

    name: str
    owner: tuple[bytes, ...] = field(repr=False)
    worker: tuple[bytes, ...] = field(repr=False)
    validator: tuple[bytes, ...] = field(repr=False)
    salt: bytes = field(repr=False)

    def secrets(self, role: Role) -> tuple[bytes, ...]:
        """Return the secrets of a role, oldest first.

        Raises
        ------
        ConfigError
            There is no such role.
        """
        if role not in get_args(Role):
            msg = f"there is no role '{role}'"
            raise ConfigError(msg, hint=f"one of {', '.join(get_args(Role))}")
        return cast("tuple[bytes, ...]", getattr(self, role))

    def public(self, role: Role) -> bytes:
        """Return the public key of the newest secret of a role, 32 bytes."""
        return keys.public_of(self.secrets(role)[-1])

    def identity_in(self, state: State, role: Role = "worker") -> Identity:
        """Return who this member is on a ledger now: its newest valid key whose secret is here.

        A member without a worker key works with its owner key.

        Raises
        ------
        ConfigError
            The member is not on the ledger, was removed, or its keys there are not in this file.
        """
        row = state.get(MEMBERS, self.name)
        if row is None:
            msg = f"'{self.name}' is no member of this ledger"
            hint = "check the network's address, or let its members admit the card"
            raise ConfigError(msg, hint=hint)
        if not row.active:
            msg = f"'{self.name}' was removed from this ledger"
            raise ConfigError(msg, hint="let its members admit a new member with a new card")
        found = self._find(row, role)
        if found is None and role == "worker" and not _has_key(row, role):
            found = self._find(row, "owner")
        if found is None:
            msg = f"the ledger has no {role} key of '{self.name}' whose secret is in the key file"
            hint = "name the folder with the newest key file, or rotate the key with the owner's"
            raise ConfigError(msg, hint=hint)
        return found

    def _find(self, row: Member, role: Role) -> Identity | None:
        known = {keys.public_of(secret): secret for secret in self.secrets(role)}
        for index in reversed(range(len(row.keys))):
            key = row.keys[index]
            if key.active and key.role == role and key.public in known:
                return Identity(self.name, index, known[key.public], self.salt)
        return None


def new_keyring(name: str) -> Keyring:
    """Return a keyring for ``name`` with secrets from the operating system.

    Raises
    ------
    ConfigError
        The ledger has no room for such a name.
    """
    check_name(name)
    owner, worker, validator, salt = (keys.new_secret() for _ in range(4))
    return Keyring(name, (owner,), (worker,), (validator,), salt)


def _has_key(row: Member, role: Role) -> bool:
    return any(key.active and key.role == role for key in row.keys)
