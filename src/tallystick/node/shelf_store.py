"""A node's shelf as transfers see it: what other nodes send for and what they are sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from tallystick.crypto.hashes import CHUNK_BYTES
from tallystick.errors import TallyError, UnavailableError, VerificationError
from tallystick.storage.shelf import OffsetError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tallystick.federation.stores import Part, Source
    from tallystick.storage.shelf import Shelf

__all__ = ["LostError", "OvertakenError", "ShelfStore"]


class LostError(TallyError):
    """The blob is not on the shelf any more, or cannot be read: that is no other node's fault."""

    slug: ClassVar[str] = "lost"


class OvertakenError(UnavailableError):
    """Somebody else puts the same blob on the shelf right now."""

    slug: ClassVar[str] = "overtaken"


class ShelfStore:
    """A `tallystick.federation.stores.Store` on a shelf.

    Parameters
    ----------
    account
        Asked for which member a blob counts that is fetched.
    taken, given
        Called with how many bytes came from another node, or were read for one.
    """

    def __init__(
        self,
        shelf: Shelf,
        account: Callable[[bytes, bytes], str],
        taken: Callable[[int], None],
        given: Callable[[int], None],
    ) -> None:
        """Move nothing yet."""
        self._shelf, self._account = shelf, account
        self._taken, self._given = taken, given

    def has(self, task: bytes, root: bytes) -> bool:
        """See `Store.has`."""
        found = self._shelf.progress(task, root)
        return found is not None and found.complete

    def held(self, task: bytes, root: bytes) -> int:
        """See `Store.held`."""
        found = self._shelf.progress(task, root)
        return 0 if found is None else found.offset

    def begin(self, task: bytes, root: bytes, size: int, leaves: Sequence[bytes]) -> Part:
        """See `Store.begin`; raises as `Shelf.plan`."""
        part = _ShelfPart(self._shelf, task, root, size, self._account(task, root))
        part.plan(b"".join(leaves))
        part.taken = self._taken
        return part

    def open(self, task: bytes, root: bytes) -> Source:
        """See `Store.open`.

        Raises
        ------
        LostError
            It is not here.
        """
        found = self._shelf.progress(task, root)
        if found is None or not found.complete:
            msg = f"blob {root.hex()} is not here any more"
            raise LostError(msg)
        return _ShelfSource(self._shelf, task, root, found.size, self._given)


class _ShelfPart:
    """A blob on its way onto a shelf, where others may be sending it, too."""

    def __init__(self, shelf: Shelf, task: bytes, root: bytes, size: int, member: str) -> None:
        self.root, self.size, self.offset = root, size, 0
        self.taken: Callable[[int], None] = _ignore
        self._shelf, self._task, self._member = shelf, task, member
        self._piece = bytearray()  # of a chunk that is not whole

    def plan(self, leaves: bytes) -> None:
        self.offset = self._shelf.plan(self._task, self.root, self.size, self._member, leaves)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._piece += data
        self.taken(len(data))
        while self.offset < self.size:
            wanted = min(CHUNK_BYTES, self.size - self.offset)
            if len(self._piece) < wanted:
                return
            self._keep(bytes(self._piece[:wanted]))
            del self._piece[:wanted]
        if self._piece:
            msg = f"more than the {self.size} bytes of blob {self.root.hex()}"
            raise VerificationError(msg)

    def commit(self) -> None:
        """Nothing is left to do: with its last chunk it was whole."""

    def close(self) -> None:
        """Nothing is open."""

    def _keep(self, chunk: bytes) -> None:
        place = self._task, self.root, self.size, self._member
        try:
            held = self._shelf.append(*place, self.offset, chunk)
        except OffsetError as error:
            msg = f"somebody else goes on with blob {self.root.hex()[:12]}"
            raise OvertakenError(msg) from error
        if held > self.offset + len(chunk):  # whole, by somebody else
            msg = f"somebody else has sent blob {self.root.hex()[:12]}"
            raise OvertakenError(msg)
        self.offset = held


class _ShelfSource:
    """A whole blob on a shelf."""

    def __init__(
        self, shelf: Shelf, task: bytes, root: bytes, size: int, given: Callable[[int], None]
    ) -> None:
        self.size = size
        self._shelf, self._place, self._given = shelf, (task, root), given

    def hashes(self) -> bytes:
        try:
            return b"".join(self._shelf.leaves(*self._place))
        except UnavailableError as error:
            raise LostError(str(error)) from error

    def read(self, start: int, length: int) -> bytes:
        length = min(length, self.size - start)
        try:
            data = b"".join(self._shelf.read(*self._place, start, length))
        except UnavailableError as error:
            raise LostError(str(error)) from error
        self._given(len(data))
        return data


def _ignore(_: int) -> None:
    return
