"""Put a task to the approval of its members: its terms on the ledger, its initial model at a node.

The transaction goes first, since a node takes bytes for tasks it knows. Repeated with the same
terms, only what is missing is sent.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tallystick.errors import ConfigError, DecodeError, UnavailableError
from tallystick.federation.acting import MEMBER
from tallystick.federation.approving import BLOBS
from tallystick.federation.task_file import resolve_terms
from tallystick.ledger.collect.rows import NAMES, TASKS, TERMS
from tallystick.ledger.contracts.members import active_members
from tallystick.ledger.messages import ProposeTask
from tallystick.ledger.terms import task_id
from tallystick.storage.blobs import FileBlobs
from tallystick.tensors.model import read_model, write_model

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tallystick.federation.acting import Acting
    from tallystick.federation.task_file import Task
    from tallystick.federation.transfer import Transfers
    from tallystick.ledger.collect.rows import TaskRow
    from tallystick.ledger.state import State
    from tallystick.ledger.terms import Terms
    from tallystick.tensors.dtypes import Array
    from tallystick.tensors.spec import ModelSpec

__all__ = [
    "PHASES",
    "Proposed",
    "find_task",
    "list_tasks",
    "load_initial",
    "propose",
    "task_facts",
    "terms_on",
]

PHASES = ("setup", "round", "close")
ATTEMPTS, PAUSE_SECONDS = 6, 0.25  # the pause doubles each time


@dataclass(frozen=True, slots=True)
class Proposed:
    """A task on the ledger, and whether it was there before."""

    task: bytes
    terms: Terms
    before: bool


def load_initial(path: Path) -> dict[str, Array]:
    """Return the arrays of a safetensors file.

    Raises
    ------
    ConfigError
        It cannot be read, is none, or holds what no model can.
    """
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        msg = f"{path}: {error.strerror or error}"
        raise ConfigError(msg, hint="name a safetensors file") from error
    try:
        return read_model(data).arrays()  # a canonical one, with every dtype a model can have
    except DecodeError:
        pass
    from safetensors import SafetensorError  # noqa: PLC0415 - only a foreign file needs it
    from safetensors.numpy import load  # noqa: PLC0415

    try:
        return load(data.tobytes())
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        msg = f"{path} is no safetensors file that can be read: {error}"
        raise ConfigError(msg, hint="save the arrays with safetensors.numpy.save_file") from error


def terms_on(acting: Acting, task: Task, model: ModelSpec | None) -> Terms:
    """Return the terms that a task file comes to on this ledger, owned by whoever acts.

    Its members are those of the file's ``[rosters]``, or else all of the ledger's.

    Raises
    ------
    ConfigError
        The task contradicts itself or does not fit its members.
    """
    named = task.rosters.get("members") or active_members(acting.state)
    owner = task.options.get("owner", acting.name)
    if owner != acting.name:
        msg = f"owner = {owner!r}, and this is '{acting.name}'"
        raise ConfigError(msg, hint="its owner proposes a task")
    kernel = acting.engine.kernel
    return resolve_terms(
        task,
        owner=acting.name,
        members=tuple(dict.fromkeys(named)),
        model=model,
        trial=kernel.genesis.trial,
        faults=kernel.faults(acting.state),
    )


def propose(
    acting: Acting,
    key_folder: Path,
    task: Task,
    initial: Mapping[str, Array] | None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Proposed:
    """Propose a task and hand its initial model to the node.

    Parameters
    ----------
    initial
        The initial model's arrays; `None` for a task without a common model.
    on_progress
        Called with the bytes of the model that the node has, and all of them.

    Raises
    ------
    ConfigError
        As `terms_on`.
    RejectedError
        The ledger refuses the terms: another task has the name, or a member is none.
    RefusedError, UnavailableError
        As `Acting.act` and `Transfers.upload`; the same call goes on.
    """
    with closing(FileBlobs(key_folder / MEMBER / BLOBS)) as blobs:
        model = None if initial is None else write_model(initial, blobs.create())
        terms = terms_on(acting, task, model)
        found = task_id(terms)
        before = acting.state.get(NAMES, terms.name) == found
        if not before:
            acting.act(ProposeTask(terms))
        if model is not None:
            size = model.size

            def tell(done: int) -> None:
                if on_progress is not None:
                    on_progress(done, size)

            _upload(acting.transfers(blobs), found, model.root, tell)
    return Proposed(found, terms, before)


def _upload(
    transfers: Transfers, task: bytes, root: bytes, progress: Callable[[int], None]
) -> None:
    """Hand over a model, through some breaks of the connection."""
    for attempt in range(ATTEMPTS):
        try:
            transfers.upload(task, root, progress=progress)
        except UnavailableError:
            if attempt + 1 == ATTEMPTS:
                raise
            time.sleep(PAUSE_SECONDS * 2**attempt)
        else:
            return


def list_tasks(state: State) -> list[tuple[TaskRow, Terms]]:
    """Return every task of a ledger with its terms, by name."""
    found: list[tuple[TaskRow, Terms]] = []
    for _, row in state.rows_of(TASKS):
        terms = state.get(TERMS, row.id)
        if terms is not None:
            found.append((row, terms))
    return sorted(found, key=lambda each: each[0].name)


def task_facts(row: TaskRow, terms: Terms) -> dict[str, Any]:
    """Return where a task stands, as documents say it."""
    return {
        "name": row.name,
        "id": row.id,
        "owner": row.owner,
        "status": row.status,
        "cause": row.cause,
        "recipe": terms.recipe,
        "phase": PHASES[row.phase],
        "round": row.round,
        "rounds": terms.rounds,
        "closing": row.closing,
        "members": terms.parties,
        "model_root": None if row.model is None else row.model.root,
    }


def find_task(state: State, name: str = "") -> bytes:
    """Return the id of the task with a name; without one, of the only task.

    Raises
    ------
    ConfigError
        There is none, or more than one to choose from.
    """
    known = state.get(NAMES, name) if name else None
    if known is not None:
        return known
    names = [row.name for row, _ in list_tasks(state)]
    listed = f"its tasks: {', '.join(names)}" if names else "none was proposed yet"
    if name:
        msg = f"this ledger has no task '{name}'"
        raise ConfigError(msg, hint=listed)
    if len(names) != 1:
        msg = f"this ledger has {len(names)} tasks"
        raise ConfigError(msg, hint=f"{listed}; name one as URL#NAME")
    return find_task(state, names[0])
