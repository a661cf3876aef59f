"""How fast updates become a model, against NumPy averaging the same numbers in memory.

Ours is the whole attested fold of updates that were screened, as they are in every recipe: it reads
them from the store, weighs and combines them, writes the new model and fingerprints it.
``numpy.average`` gets float32 rows that lie ready in memory and only returns the mean.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tallystick.errors import ConfigError
from tallystick.lab.bench.machine import Measure, check_counts
from tallystick.mechanisms.records import ROUND, Key, Output, Subject
from tallystick.mechanisms.registry import make_rule, rule_class
from tallystick.mechanisms.rule import Inputs, Place
from tallystick.mechanisms.weighing import tolerated
from tallystick.storage.blobs import FileBlobs
from tallystick.tensors.model import open_model, write_model
from tallystick.tensors.update import quantise
from tallystick.tensors.workbench import Workbench

if TYPE_CHECKING:
    from collections.abc import Callable

    from tallystick.mechanisms.rule import Rule
    from tallystick.tensors.spec import ModelSpec

__all__ = ["SAYS", "measure_aggregation", "peers_of"]

SAYS = (
    "Parameters of all updates together, a second. Both weigh by whole numbers of examples, as "
    "federated averaging does. Ours reads screened updates from the store, and writes and "
    "fingerprints the new model, not flushed; numpy.average has float32 rows ready in memory. "
    "So has NumPy's own way of a median, a trimmed mean (numpy_sort: sort each parameter's values) "
    "and Krum (numpy_blas: all products, pick a row). All in the same run, in turn."
)
MODEL = "parameters"
CAP = 1000

Peer: TypeAlias = "Callable[[np.ndarray], np.ndarray]"


def measure_aggregation(rule: str, members: int, parameters: int, repeat: int) -> list[Measure]:
    """Return the parameters a second of an aggregation rule, of `numpy.average`, and of its peer.

    Median and trimmed mean have one that sorts, Krum one that multiplies in BLAS: float32, both.

    Raises
    ------
    ConfigError
        Unknown rule, one that makes no model of so many updates, or a number below 1.
    """
    check_counts(members=members, parameters=parameters, repeat=repeat)
    asked = _rule(rule)
    with tempfile.TemporaryDirectory(prefix="tally-bench-") as folder:
        blobs = FileBlobs(Path(folder), durable=False)
        model = write_model({MODEL: np.zeros(parameters, np.float32)}, blobs.create())
        inputs = _inputs(asked, blobs, model, members)
        peers = {"numpy_average": _average, **peers_of(asked)}
        ours: list[float] = []
        theirs: dict[str, list[float]] = {name: [] for name in peers}
        for _ in range(repeat + 1):
            ours.append(_time_fold(asked, inputs, blobs))
            for name, peer in peers.items():
                theirs[name].append(_time_peer(peer, members, parameters))
    facts = {"members": members, "parameters": parameters}
    total = members * parameters
    found = [_measure("parameters_per_second", ours, total, {**facts, "rule": rule})]
    for name, seconds in theirs.items():
        found.append(_measure(f"{name}_parameters_per_second", seconds, total, facts))
    return found


def peers_of(rule: Rule) -> dict[str, Peer]:
    """Return NumPy's way of the rule by name, where it has one."""
    f = getattr(rule, "f", 0)
    found: dict[str, dict[str, Peer]] = {
        "aggregate/median/1": {"numpy_sort": lambda rows: _sorted_mean(rows, (len(rows) - 1) // 2)},
        "aggregate/trimmed-mean/1": {
            "numpy_sort": lambda rows: _sorted_mean(rows, tolerated(f, len(rows)))
        },
        "aggregate/krum/1": {"numpy_blas": lambda rows: _krum(rows, tolerated(f, len(rows)))},
    }
    return found.get(rule.id, {})


def _measure(name: str, seconds: list[float], total: int, facts: dict[str, Any]) -> Measure:
    """Return parameters a second; the first run warmed up."""
    return Measure(name, "1/s", tuple(total / each for each in seconds[1:]), facts)


def _rule(name: str) -> Rule:
    kind = rule_class(name)
    if not name.startswith("aggregate/") or kind.place != Place.ATTESTED:
        msg = f"--rule '{name}' makes no model of updates"
        raise ConfigError(msg, hint="such as aggregate/mean/1 or aggregate/clipped-median/1")
    return make_rule(name, {})


def _inputs(rule: Rule, blobs: FileBlobs, model: ModelSpec, members: int) -> Inputs:
    """Write an update a member and return what the stage would be given."""
    parent = open_model(blobs.open(model.root), model.parameters)
    subjects: list[Subject] = []
    for number in range(members):
        trained = {MODEL: _row(number, parent.layout.segments[0].stop)}
        root, size = quantise(parent, trained, model, blobs.create())
        subjects.append(Subject(id=root, author=f"member-{number}", columns=(size, number + 1)))
    listed = Output(subjects=tuple(subjects))
    return Inputs(
        key=Key(bytes(32), ROUND, 1, "aggregate", ""),
        of=(listed,),
        refs=dict.fromkeys(rule.refs, listed),
        parent=(model.root, model.size),
        model=model,
        counts=("declared", CAP),
    )


def _time_fold(rule: Rule, inputs: Inputs, blobs: FileBlobs) -> float:
    """Return the seconds of one fold on a workbench that remembers what screening asks, no more."""
    bench = Workbench(blobs)
    given = replace(inputs, workbench=bench)
    if inputs.model is not None:
        bench.largest([subject.id for subject in inputs.live], inputs.model)
    started = time.perf_counter()
    output = rule.fold((), given)
    seconds = time.perf_counter() - started
    if output.void or not output.live:
        msg = f"{rule.id} makes no model of {len(inputs.live)} such updates: {output.void}"
        raise ConfigError(msg, hint="try more --members")
    return seconds


def _time_peer(peer: Peer, members: int, parameters: int) -> float:
    rows = np.stack([_row(number, parameters) for number in range(members)])
    started = time.perf_counter()
    peer(rows)
    return time.perf_counter() - started


def _average(rows: np.ndarray) -> np.ndarray:
    return np.average(rows, axis=0, weights=np.arange(1, len(rows) + 1))


def _sorted_mean(rows: np.ndarray, trim: int) -> np.ndarray:
    return np.sort(rows, axis=0)[trim : len(rows) - trim].mean(axis=0)


def _krum(rows: np.ndarray, f: int) -> np.ndarray:
    products = rows @ rows.T
    squared = np.diagonal(products)
    distances = np.sort(squared[:, None] + squared - 2 * products, axis=1)
    scores = distances[:, 1 : len(rows) - f - 1].sum(axis=1)
    return rows[np.argmin(scores)].copy()


def _row(number: int, parameters: int) -> np.ndarray:
    """Return what a member trained: the same numbers at every call."""
    generator = np.random.default_rng(number)
    return generator.standard_normal(parameters, np.float32) * np.float32(1e-3)
