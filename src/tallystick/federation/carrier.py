"""How a member gets others' bytes, and others get its own."""

from __future__ import annotations

from typing import Protocol

__all__ = ["SHARED", "Carrier", "SharedBlobs"]


class Carrier(Protocol):
    """Moves blobs between members. Neither method waits: what is under way is asked for again."""

    def fetch(self, task: bytes, root: bytes, size: int = 0) -> bool:
        """Return whether a blob is here; begin to get it if it is not.

        Parameters
        ----------
        size
            In bytes, where it is known.
        """
        ...

    def deliver(self, task: bytes, root: bytes) -> bool:
        """Return whether others can get a blob that is here; begin to hand it over if not."""
        ...


class SharedBlobs:
    """For members who share one store: there is nothing to move."""

    def fetch(self, task: bytes, root: bytes, size: int = 0) -> bool:  # noqa: ARG002
        """See `Carrier.fetch`."""
        return True

    def deliver(self, task: bytes, root: bytes) -> bool:  # noqa: ARG002
        """See `Carrier.deliver`."""
        return True


SHARED = SharedBlobs()
