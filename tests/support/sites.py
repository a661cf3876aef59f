"""Federations of sites without data, driven block by block."""

from __future__ import annotations

import numpy as np

from tallystick.codec import decode
from tallystick.federation.simulation import Federation, Setup
from tallystick.federation.task_file import Task, resolve_terms
from tallystick.federation.trainer import as_trainer
from tallystick.ledger.collect.notes import Forfeited, Note
from tallystick.ledger.collect.rows import STAGES
from tallystick.storage.blobs import FileBlobs
from tallystick.tensors.model import write_model

NAMES = tuple("abcd")


class Site:
    """Moves the model by what its seed says; counts how often it trains."""

    def __init__(self):
        self.trained = 0

    def initial_parameters(self):
        return {"w": np.zeros(4, np.float32)}

    def train(self, parameters, config):
        self.trained += 1
        return {"w": parameters["w"] + np.float32(config["seed"] % 97)}, 5

    def evaluate(self, parameters, config):
        return {"accuracy": 0.5}, 5


class Dice(Site):
    """A site whose training is never the same twice."""

    def train(self, parameters, config):
        noise = np.random.default_rng().standard_normal(4).astype(np.float32)
        return {"w": parameters["w"] + noise}, 5


def federation(folder, site=Site, names=NAMES, **setup):
    """Return a federation of such sites in a folder."""
    given = {"trainers": {name: as_trainer(site()) for name in names}, "durable": False}
    return Federation(folder, Setup(**{**given, **setup}), seed=1)


def initial_model(folder):
    """Put four zeros into the folder's blobs; return their spec."""
    writer = FileBlobs(folder / "blobs", durable=False).create()
    return write_model({"w": np.zeros(4, np.float32)}, writer)


def terms_of(folder, name="t", recipe="chain-fl", names=NAMES, owner=NAMES[0], **task):
    """Return the terms of a small task on that model."""
    asked = Task(name=name, recipe=recipe, **{"rounds": 2, **task})
    model = initial_model(folder)
    return resolve_terms(asked, owner=owner, members=names, model=model, trial=True)


def notes(fed, task, kind=None):
    """Return the notes in a task's log, of one kind if asked."""
    found = [decode(Note, leaf) for _, leaf in fed.engine.leaves(task)]
    return [note for note in found if kind is None or isinstance(note, kind)]


def forfeits(fed, task):
    """Return who lost what in a task."""
    return [(note.member, note.micros, note.why) for note in notes(fed, task, Forfeited)]


def window_of(fed, task):
    """Return stage and window of the first open stage."""
    row = fed.row(task)
    if not row.open:
        return "", ""
    return row.open[0].stage, fed.engine.state.get(STAGES, row.open[0]).window


def run_until(fed, task, stage, window):
    """Seal blocks until a window is open."""
    blocks = fed.blocks(task)
    while window_of(fed, task) != (stage, window):
        next(blocks)
