"""What exists: models that rounds completed with, data sets that members committed to, pointers.

A pointer names bytes that are kept encrypted off the ledger by the digest of the plain ones, so
that what was proved about them stays proved when their key is gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from tallystick.codec import U32, U63, Hash, Label, Record
from tallystick.errors import RejectedError
from tallystick.ledger.receipt import Event
from tallystick.ledger.state import State, Table
from tallystick.mechanisms.records import Root

if TYPE_CHECKING:
    from tallystick.ledger.context import Context
    from tallystick.ledger.messages import RegisterDataset

__all__ = [
    "Dataset",
    "ModelRow",
    "Pointer",
    "RegisteredAlreadyError",
    "SpentPointerError",
    "UnknownPointerError",
    "dataset",
    "handle_dataset",
    "latest",
    "model",
    "pointer",
    "put_pointer",
    "record_model",
]


class RegisteredAlreadyError(RejectedError):
    """The root is registered; the first registration stands."""

    slug: ClassVar[str] = "registered-already"
    code: ClassVar[int] = 421


class UnknownPointerError(RejectedError):
    """No pointer has this digest."""

    slug: ClassVar[str] = "unknown-pointer"
    code: ClassVar[int] = 422


class SpentPointerError(RejectedError):
    """The pointer has a tombstone, or another version has taken its place."""

    slug: ClassVar[str] = "spent-pointer"
    code: ClassVar[int] = 423


class ModelRow(Record):
    """Which task made a model, in which round."""

    task: Hash
    round: U32


class Dataset(Record):
    """Who committed to a data set, with how many rows."""

    owner: Label
    rows: U63
    kind: str


class Pointer(Record):
    """Encrypted bytes off the ledger, by the digest of the plain ones.

    Attributes
    ----------
    stored, stored_size
        Root and size of the encrypted bytes as they lie now.
    replaces, next
        The versions before and after this one, by digest; empty for none.
    keys
        How many keys the bytes have been encrypted under, one after another.
    erased
        Whether there is a tombstone.
    """

    owner: Label
    kind: str
    size: U63
    stored: Hash
    stored_size: U63
    replaces: Root = b""
    next: Root = b""
    keys: U32 = 1
    erased: bool = False


MODELS: Table[ModelRow] = Table(0x30, ModelRow)
DATASETS: Table[Dataset] = Table(0x31, Dataset)
POINTERS: Table[Pointer] = Table(0x32, Pointer)


def model(state: State, root: bytes) -> ModelRow | None:
    """Return where a model came from."""
    return state.get(MODELS, root)


def dataset(state: State, root: bytes) -> Dataset | None:
    """Return who committed to a data set."""
    return state.get(DATASETS, root)


def pointer(state: State, digest: bytes) -> Pointer:
    """Return what a digest points at, tombstone or not.

    Raises
    ------
    UnknownPointerError
        Nothing was published under it.
    """
    row = state.get(POINTERS, digest)
    if row is None:
        raise UnknownPointerError
    return row


def put_pointer(state: State, digest: bytes, row: Pointer) -> None:
    """Write a pointer."""
    state.put(POINTERS, digest, row=row)


def latest(state: State, digest: bytes) -> bytes:
    """Return the digest of the newest version; raises as `pointer` does."""
    row = pointer(state, digest)
    while row.next:
        digest, row = row.next, pointer(state, row.next)
    return digest


def record_model(state: State, root: bytes, task: bytes, number: int) -> None:
    """Register the model a round completed with; the first origin of a root stands."""
    if state.get(MODELS, root) is None:
        state.put(MODELS, root, row=ModelRow(task, number))


def handle_dataset(state: State, context: Context, message: RegisterDataset) -> tuple[Event, ...]:
    """Register a data set's root under the sender."""
    if state.get(DATASETS, message.root) is not None:
        raise RegisteredAlreadyError
    row = Dataset(context.sender, message.rows, message.kind)
    state.put(DATASETS, message.root, row=row)
    return (Event("dataset", message.root.hex(), message.rows),)
