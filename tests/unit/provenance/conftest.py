"""Two real runs to check, forge and explain: one small and honest, one with things to tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tallystick.federation.conduct import Conduct
from tallystick.federation.simulation import Federation, Setup
from tallystick.federation.task_file import Task, resolve_terms
from tallystick.federation.trial import secret_of
from tallystick.lab.attacks import assign, parse_attack
from tallystick.ledger.messages import Transfer
from tallystick.ledger.terms import Terms
from tallystick.provenance import TaskHistory, read_engine, write_bundle
from tallystick.tensors.model import write_model

# 400 kB of parameters: two chunks, the border inside the tensor 'weights'.
INITIAL = {
    "bias": np.zeros(7, np.float32),
    "weights": np.zeros((100, 1000), np.float32),
}
SITES = ("east", "north", "west")
TINY = {"bias": np.zeros(3, np.float32), "weights": np.zeros(5, np.float32)}


class Walker:
    """A trainer that moves towards a point of its own."""

    def __init__(self, target: float) -> None:
        self.target = target

    def train(self, parameters, config):
        generator = np.random.default_rng(config["seed"])
        moved = {
            name: value
            + 0.1 * (self.target - value)
            + generator.normal(0, 0.001, value.shape).astype(np.float32)
            for name, value in parameters.items()
        }
        return {name: value.astype(np.float32) for name, value in moved.items()}, 10

    def evaluate(self, parameters, config):
        far = max(float(np.abs(value - self.target).mean()) for value in parameters.values())
        return {"accuracy": max(0.0, 1.0 - far)}, 10


@dataclass(frozen=True)
class Made:
    """A finished run with its bundle."""

    folder: Path
    bundle: Path
    model: Path
    federation: Federation
    task: bytes
    history: TaskHistory

    @property
    def genesis(self) -> str:
        return self.federation.engine.head.chain.hex()

    @property
    def model_root(self) -> bytes:
        return self.federation.row(self.task).model.root


def play(
    folder: Path,
    recipe: str,
    names: tuple[str, ...],
    rounds: int,
    initial: dict[str, np.ndarray],
    *,
    conduct: dict[str, Conduct] | None = None,
    watch: Callable[[Federation], None] | None = None,
    amend: Callable[[Terms], Terms] = lambda terms: terms,
) -> Made:
    trainers = {name: Walker(1.0 + 0.01 * at) for at, name in enumerate(names)}
    setup = Setup(trainers, conduct or {}, durable=False, watch=watch)
    federation = Federation(folder, setup, seed=3)
    spec = write_model(initial, federation.blobs.create())
    task = Task("trial-run", recipe, rounds)
    terms = resolve_terms(task, owner=names[0], members=names, model=spec, trial=True)
    terms = amend(terms)
    task_id = federation.propose(terms)
    federation.members[names[1]].send(Transfer(names[0], 7))
    federation.engine.seal(federation.engine.head.time + 1000)
    row = federation.run(task_id)
    bundle, model = folder / "run.tally", folder / "model.safetensors"
    write_bundle(bundle, federation.engine, task_id, federation.blobs)
    model.write_bytes(federation.blobs.open(row.model.root).tobytes())
    history = read_engine(federation.engine, task_id)
    return Made(folder, bundle, model, federation, task_id, history)


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """Three honest members, one round of plain averaging, eight parameters."""
    made = play(tmp_path_factory.mktemp("small"), "chain-fl", SITES, 1, TINY)
    yield made
    made.federation.close()


@pytest.fixture(scope="session")
def eventful(tmp_path_factory):
    """Seven members, three rounds: a liar, a copier and one who is absent."""
    names = tuple(f"clinic-{number}" for number in range(1, 8))
    attacks = [parse_attack(text) for text in ("sign-flip:4=1", "absentee=1")]
    conduct = assign(attacks, list(names))
    folder = tmp_path_factory.mktemp("eventful")
    made = play(folder, "standard", names, 3, INITIAL, conduct=conduct)
    yield made
    made.federation.close()


@pytest.fixture
def play_watched(tmp_path):
    """Play the small run again, watched block by block or under other terms."""
    runs: list[Made] = []

    def start(**changes) -> Made:
        runs.append(play(tmp_path / "watched", "chain-fl", SITES, 1, TINY, **changes))
        return runs[-1]

    yield start
    for made in runs:
        made.federation.close()


@pytest.fixture(scope="session")
def sealer_secret(small):
    return secret_of(3, small.federation.engine.genesis.sealer, "validator")
