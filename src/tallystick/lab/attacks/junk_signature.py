"""Junk signature: 64 bytes in the place of one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import ClassVar

from tallystick.lab.attacks.attack import Attack

__all__ = ["JunkSignature"]


@dataclass(frozen=True, slots=True)
class JunkSignature(Attack):
    """Attest every output with bytes that verify under no key.

    Nobody notices before an output is opened, which then has fewer signatures than it seemed.

    Its author needs to know nothing, and need not compute the output.
    """

    name: ClassVar[str] = "junk-signature"

    def poison_signature(self, signature: bytes) -> bytes:
        """See `Conduct.poison_signature`."""
        return hashlib.sha512(signature).digest()
