"""What exists: models that rounds completed with, and data sets that members committed to."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from tallystick.codec import U32, U63, Hash, Label, Record
from tallystick.errors import RejectedError
from tallystick.ledger.receipt import Event
from tallystick.ledger.state import State, Table

if TYPE_CHECKING:
    from tallystick.ledger.context import Context
    from tallystick.ledger.messages import RegisterDataset

__all__ = [
    "Dataset",
    "ModelRow",
    "RegisteredAlreadyError",
    "dataset",
    "handle_dataset",
    "model",
    "record_model",
]


class RegisteredAlreadyError(RejectedError):
    """The root is registered; the first registration stands."""

    slug: ClassVar[str] = "registered-already"
    code: ClassVar[int] = 421


class ModelRow(Record):
    """Which task made a model, in which round."""

    task: Hash
    round: U32


class Dataset(Record):
    """Who committed to a data set, with how many rows."""

    owner: Label
    rows: U63
    kind: str


MODELS: Table[ModelRow] = Table(0x30, ModelRow)
DATASETS: Table[Dataset] = Table(0x31, Dataset)


def model(state: State, root: bytes) -> ModelRow | None:
    """Return where a model came from."""
    return state.get(MODELS, root)


def dataset(state: State, root: bytes) -> Dataset | None:
    """Return who committed to a data set."""
    return state.get(DATASETS, root)


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
