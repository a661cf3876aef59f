"""Simulate a federation and leave behind what it proved: model, bundle, metrics.

The folder of a run is its memory: the same call with the same folder goes on where it stopped,
whatever stopped it.
"""

from __future__ import annotations

import json
import logging
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tallystick.codec import encode
from tallystick.errors import ConfigError
from tallystick.federation.arrays import as_arrays
from tallystick.federation.metrics import EVERYBODY, evaluate_rounds, write_metrics
from tallystick.federation.names import check_names
from tallystick.federation.privacy import budget_of, check_trainers
from tallystick.federation.simulation import MARKER, Federation, Setup, claim_folder
from tallystick.federation.task_file import Task, owner_of, resolve_terms
from tallystick.federation.task_text import task_text
from tallystick.federation.trainer import as_trainer
from tallystick.ledger.terms import task_id
from tallystick.mechanisms.records import ROUND
from tallystick.provenance.history import read_engine
from tallystick.provenance.writing import write_bundle
from tallystick.storage.blobs import FileBlobs
from tallystick.storage.files import write_array
from tallystick.storage.lock import Lock
from tallystick.tensors.model import open_model, parameters_of, write_model
from tallystick.tensors.spec import ModelSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from tallystick.consensus.engine import Engine
    from tallystick.federation.conduct import Conduct
    from tallystick.federation.trainer import Trainer
    from tallystick.ledger.collect.rows import ModelRef, TaskRow
    from tallystick.ledger.terms import Terms
    from tallystick.provenance.facts import TaskHistory
    from tallystick.tensors.spec import Blobs

__all__ = [
    "Ended",
    "Refusal",
    "Run",
    "check_folder",
    "finish_run",
    "log_to",
    "simulate",
    "stop_log",
]

LOG = logging.getLogger(__name__)
MOST_SEED = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refused update; ``update`` and ``evidence`` are lower-case hex."""

    round: int
    member: str
    update: str
    code: int
    reason: str
    evidence: str


@dataclass(frozen=True)
class Run:
    """A finished simulation.

    Attributes
    ----------
    status, cause
        How the task ended: ``done``, ``void``, ``aborted`` or ``suspended``, and why.
    model
        The final parameters by name, the initial ones when no round completed; `None` without a
        common model.
    completed
        Learning rounds that completed.
    bundle, model_file
        The proof, and the model as a canonical safetensors file.
    genesis, model_root, state_root
        Lower-case hex.
    metrics
        The final model's metrics, averaged over the sites by their number of examples.
    refusals
        Every refused update with its round, member, code, reason and evidence.
    """

    task: Task
    terms: Terms
    task_id: bytes
    status: str
    cause: str
    completed: int
    height: int
    genesis: str
    state_root: str
    model_root: str
    model: dict[str, np.ndarray] | None
    model_file: Path | None
    bundle: Path
    out: Path
    metrics: dict[str, float]
    refusals: tuple[Refusal, ...]
    history: TaskHistory
    seconds: float = 0.0
    files: Mapping[str, str] = field(default_factory=dict[str, str])


def simulate(  # noqa: PLR0913 - one call, many options
    task: Task | str | Path,
    sites: Mapping[str, object],
    *,
    initial: object = None,
    seed: int = 0,
    out: str | Path | None = None,
    rounds: int | None = None,
    conduct: Mapping[str, Conduct] | None = None,
    outsiders: tuple[str, ...] = (),
    isolate: bool = False,
    durable: bool = True,
    evaluate: bool = True,
    watch: Callable[[Federation], None] | None = None,
) -> Run:
    """Run ``task`` among ``sites`` in this process, on the real ledger in virtual time.

    Parameters
    ----------
    task
        A `Task`, or a task file.
    sites
        One trainer per member, by name: objects with ``train`` and ``evaluate``, or shaped like
        Flower's ``NumPyClient``.
    initial
        The parameters everybody starts from: arrays by name, a list of arrays or a PyTorch state
        dictionary. By default what the first site's ``initial_parameters`` or ``get_parameters``
        returns; where they are drawn anew each time, a run that goes on keeps those it began with.
    seed
        Drives keys, salts and the trainers' seeds. Such a genesis is marked ``trial``.
    out
        The run's folder; a temporary one by default. A run it holds already goes on.
    rounds
        Replaces the task's number of rounds.
    conduct
        How members behave that are not honest, by name.
    isolate
        Train in child processes; a trainer that dies then costs its member one turn.
    evaluate
        Evaluate every round's model at every site afterwards, for ``metrics``.

    Raises
    ------
    ConfigError
        The task, the sites or the initial parameters do not fit, or the folder holds another run.
    UnavailableError
        Another process works on the run in this folder.
    """
    if not isinstance(cast("object", task), Task | str | Path):
        msg = f"task is a Task or a task file's path, not {task!r}"
        raise ConfigError(msg)
    asked = task if isinstance(task, Task) else Task.load(task)
    if rounds is not None:
        asked = replace(asked, rounds=rounds)
    if not isinstance(cast("object", sites), Mapping):
        msg = "sites are trainers by name, such as {'north': Hospital('north.csv')}"
        raise ConfigError(msg)
    if not isinstance(cast("object", seed), int) or not 0 <= seed <= MOST_SEED:
        msg = f"seed is {seed!r}: a whole number from 0 to {MOST_SEED}"
        raise ConfigError(msg)
    names = tuple(sorted(sites))
    check_names(names)
    trainers = {name: as_trainer(sites[name]) for name in names}
    folder = Path(out) if out is not None else Path(tempfile.mkdtemp(prefix="tally-"))
    check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        held.enter_context(closing(Lock(folder)))
        started = time.perf_counter()
        model = _initial_model(folder, initial, trainers[names[0]], durable=durable)
        terms = resolve_terms(
            asked, owner=owner_of(asked, names), members=names, model=model, trial=True
        )
        check_trainers(terms, trainers)
        claim_folder(folder, _identity(terms, seed, names, outsiders))
        setup = Setup(
            trainers=trainers,
            conduct=dict(conduct or {}),
            durable=durable,
            isolate=isolate,
            outsiders=outsiders,
            budget=budget_of(asked),
            watch=watch,
        )
        held.callback(stop_log, log_to(folder / "run.log"))
        federation = Federation(folder, setup, seed)
        held.callback(federation.close)
        row = federation.run(federation.propose(terms))
        seconds = time.perf_counter() - started
        ended = Ended(federation.engine, federation.blobs, row, seconds)
        return finish_run(ended, folder, asked, trainers if evaluate else {})


@dataclass(frozen=True, slots=True)
class Ended:
    """A task that has ended: on which ledger, with which blobs, and how long it took."""

    engine: Engine
    blobs: Blobs
    row: TaskRow
    seconds: float


def finish_run(ended: Ended, folder: Path, task: Task, trainers: Mapping[str, Trainer]) -> Run:
    """Write what a run leaves behind; repeating it writes the same bytes.

    Parameters
    ----------
    folder
        Where it goes; the ledger's file and the blobs are there already.
    trainers
        Who evaluates every round's model, by name.
    """
    engine, blobs, row = ended.engine, ended.blobs, ended.row
    history = read_engine(engine, row.id)
    terms = history.terms
    models = _models(history)
    completed = sum(found.phase == ROUND and found.completed for found in history.rounds)
    bundle = folder / "run.tally"
    write_bundle(bundle, engine, row.id, blobs)
    (folder / "genesis.bin").write_bytes(encode(engine.genesis))
    (folder / "task.toml").write_text(task_text(task), encoding="utf-8")
    if not completed:
        LOG.warning("no round completed: the model is the initial one; see %s", folder / "run.log")
    model_file = None if row.model is None else folder / "model.safetensors"
    model = None
    if row.model is not None and terms.model is not None and model_file is not None:
        data = blobs.open(row.model.root)
        write_array(model_file, data)
        model = open_model(data, terms.model.parameters).arrays()
    rows = evaluate_rounds(trainers, blobs, row, terms, models)
    write_metrics(folder / "metrics.csv", rows)
    final = [values for _, member, _, values in rows if member == EVERYBODY][-1:]
    if final and task.score not in final[0]:
        LOG.warning("evaluate() reports no metric '%s', which the task calls its score", task.score)
    return Run(
        task=task,
        terms=terms,
        task_id=row.id,
        status=row.status,
        cause=row.cause,
        completed=completed,
        height=engine.head.height,
        genesis=engine.head.chain.hex(),
        state_root=engine.head.state_root.hex(),
        model_root=row.model.root.hex() if row.model else "",
        model=model,
        model_file=model_file,
        bundle=bundle,
        out=folder,
        metrics=final[0] if final else {},
        refusals=tuple(
            Refusal(r.round, r.member, r.update.hex(), r.code, r.reason, r.evidence.hex())
            for r in history.refusals
        ),
        history=history,
        seconds=ended.seconds,
        files=_files(folder, model_file),
    )


def _files(folder: Path, model_file: Path | None) -> dict[str, str]:
    names = {
        "bundle": "run.tally",
        "ledger": "ledger.db",
        "task": "task.toml",
        "metrics": "metrics.csv",
    }
    files = {"out": str(folder), **{kind: str(folder / name) for kind, name in names.items()}}
    return {**files, **({"model": str(model_file)} if model_file else {})}


def _models(history: TaskHistory) -> list[tuple[int, ModelRef]]:
    """Return the completed rounds' numbers and models."""
    ended = [(found.number, found.ended) for found in history.rounds if found.phase == ROUND]
    return [
        (number, last[1].model)
        for number, last in ended
        if last and last[1].model and not last[1].cause
    ]


def _initial_model(
    folder: Path, initial: object, first: Trainer, *, durable: bool
) -> ModelSpec | None:
    is_drawn = initial is None  # by the trainer: perhaps other values whenever it is asked
    if initial is None:
        maker = getattr(first, "initial_parameters", None)
        if not callable(maker):
            msg = "there are no initial parameters: pass initial={name: array, …}"
            raise ConfigError(msg)
        try:
            initial = maker()
        except Exception as error:  # a trainer may do anything
            msg = f"the first site's initial parameters: {type(error).__name__}: {error}"
            raise ConfigError(msg) from error
    arrays = as_arrays(initial)
    if not arrays:
        msg = "the initial parameters hold no tensor"
        raise ConfigError(msg)
    blobs = FileBlobs(folder / "blobs", durable=durable)
    known = _known_model(folder) if is_drawn else None
    if known is not None and blobs.has(known[0]):
        return ModelSpec(*known, parameters_of(arrays))
    writer = blobs.create()
    try:
        return write_model(arrays, writer)
    except BaseException:
        writer.abort()
        raise


def _known_model(folder: Path) -> tuple[bytes, int] | None:
    """Return root and size of the model that the folder's run began with, if it says so."""
    try:
        found = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        return bytes.fromhex(found["initial"]), int(found["initial_bytes"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def check_folder(folder: Path) -> None:
    """Refuse a place for a run that is no folder, or holds something else.

    Raises
    ------
    ConfigError
        It does; names it.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        msg = f"{there} is no folder"
        raise ConfigError(msg, hint="name another --out")
    known = {"blobs", MARKER, f".{MARKER}", ".lock"}
    if folder.exists() and not (folder / MARKER).exists():
        strange = sorted(entry.name for entry in folder.iterdir() if entry.name not in known)
        if strange:
            msg = f"{folder} holds '{strange[0]}' and no run"
            raise ConfigError(msg, hint="name another --out")


def _identity(
    terms: Terms, seed: int, names: tuple[str, ...], outsiders: tuple[str, ...]
) -> dict[str, Any]:
    return {
        "format": "tally.run-folder/1",
        "terms": task_id(terms).hex(),
        "initial": "" if terms.model is None else terms.model.root.hex(),
        "initial_bytes": 0 if terms.model is None else terms.model.size,
        "seed": seed,
        "members": list(names),
        "outsiders": list(outsiders),
    }


def log_to(path: Path) -> logging.Handler:
    """Write this package's log to a file, and nowhere else, until `stop_log`."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("tallystick")
    logger.addHandler(handler)
    logger.propagate = False
    return handler


def stop_log(handler: logging.Handler) -> None:
    """Write no more to what `log_to` opened."""
    logging.getLogger("tallystick").removeHandler(handler)
    handler.close()
