"""A member's own side of a rule: its trainer, its blobs, its secrets."""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np

from tallystick.codec import encode
from tallystick.crypto.hashes import sha256
from tallystick.errors import ConfigError, DecodeError, UnavailableError
from tallystick.federation.arrays import TrainerError
from tallystick.federation.conduct import HONEST
from tallystick.federation.privacy import check_tables
from tallystick.federation.trainer import (
    Training,
    commit_once,
    evaluate_once,
    score_bps,
    score_update,
    train_once,
)
from tallystick.mechanisms.records import Artefact
from tallystick.mechanisms.theory.noise import reproducible
from tallystick.mechanisms.theory.protection import ROW, ClippedSum
from tallystick.tensors.dtypes import NonFiniteError
from tallystick.tensors.model import open_model
from tallystick.tensors.update import quantise, write_update

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tallystick.federation.arrays import Arrays
    from tallystick.federation.child import Children
    from tallystick.federation.conduct import Conduct, Knowledge
    from tallystick.federation.trainer import Trainer, TrainResult
    from tallystick.ledger.terms import Terms
    from tallystick.mechanisms.records import Key
    from tallystick.mechanisms.rule import Inputs
    from tallystick.mechanisms.theory.noise import Entropy
    from tallystick.mechanisms.theory.protection import Protection
    from tallystick.tensors.spec import Blobs
    from tallystick.tensors.workbench import Workbench

__all__ = [
    "MemberDesk",
    "StillTrainingError",
    "check_initial_model",
    "config_of",
    "settings_of",
    "training_seed",
]


LOG = logging.getLogger(__name__)
Asked: TypeAlias = "tuple[Key, tuple[bytes, int]]"  # the stage, and the model to train from


class StillTrainingError(UnavailableError):
    """The update is not ready: look again later."""

    slug: ClassVar[str] = "still-training"


WHOLE_BPS = 10_000


def settings_of(terms: Terms) -> dict[str, Any]:
    """Return the trainers' table as Python values."""
    readers: dict[str, Callable[[str], Any]] = {
        "bool": lambda text: text == "true",
        "float": float.fromhex,
        "int": int,
        "str": str,
    }
    return {setting.name: readers[setting.kind](setting.text) for setting in terms.train}


def training_seed(task: bytes, round_: int, member: str) -> int:
    """Return the seed a trainer gets in ``config``: the same on every engine."""
    digest = hashlib.sha256(b"training-seed" + task + encode((round_, member))).digest()
    return int.from_bytes(digest[:4], "little")


def config_of(settings: Mapping[str, Any], task: bytes, round_: int, member: str) -> dict[str, Any]:
    """Return the ``config`` a trainer gets: the terms' settings, its round, seed and member."""
    seed = training_seed(task, round_, member)
    return {**settings, "round": round_, "seed": seed, "member": member}


def check_initial_model(terms: Terms, blobs: Blobs) -> None:
    """Refuse terms whose initial model is not one of their parameters, if it is here to be seen.

    Raises
    ------
    ConfigError
        Nobody could train from it.
    """
    if terms.model is None:
        return
    try:
        data = blobs.open(terms.model.root)
    except UnavailableError:
        return
    try:
        found = open_model(data, terms.model.parameters)
    except DecodeError as error:
        msg = f"the initial model does not fit the terms: {error}"
        raise ConfigError(msg) from error
    if found.layout.size != terms.model.size:
        msg = f"the initial model has {found.layout.size} bytes, the terms say {terms.model.size}"
        raise ConfigError(msg)


@dataclass(frozen=True, slots=True)
class Work:
    """New parameters, the examples they took, and the sum that noise has yet to cover, if any."""

    parameters: Arrays
    num_examples: int
    uncovered: ClippedSum | None = None


class MemberDesk:
    """What a rule's ``act`` may ask of its member.

    Parameters
    ----------
    children
        Train in one of them, so that a trainer that dies costs one turn and nobody waits for it.
    dataset
        The root of the data set this member trains on; empty when it has registered none.

    Attributes
    ----------
    limit_seconds
        How long the trainer may take: the window's length. Whoever acts through the desk sets it,
    knowledge
        and what a dishonest member may look at.
    noise_secret
        Draw noise from this and the stage, so that it can be had again; empty for the operating
        system's noise, which alone protects.
    """

    def __init__(
        self,
        member: str,
        trainer: Trainer,
        terms: Terms,
        workbench: Workbench,
        conduct: Conduct,
        *,
        children: Children | None = None,
        dataset: bytes = b"",
    ) -> None:
        """Sit down."""
        self._member = member
        self._trainer = trainer
        self._terms = terms
        self._workbench = workbench
        self._conduct = conduct
        self._children = children
        self._dataset = dataset
        self._training: dict[Asked, Training] = {}
        self._asked: set[Asked] = set()
        self._trained: tuple[Asked, Work | TrainerError] | None = None
        self._settings = settings_of(terms)
        self.limit_seconds: float | None = None
        self.noise_secret = b""
        self.knowledge: Knowledge | None = None

    @property
    def member(self) -> str:
        """See `Desk.member`."""
        return self._member

    @property
    def blobs(self) -> Blobs:
        """Where this member keeps bytes."""
        return self._workbench.blobs

    def train(self, inputs: Inputs, protection: Protection | None = None) -> Artefact:
        """See `Desk.train`.

        Noise comes from the operating system unless a simulation has to be repeatable. A member
        whose conduct changes its update sends that as it is: nobody else can see whether it was
        clipped or covered.

        Raises
        ------
        TrainerError
            The trainer failed, or what it returned is no update of this model.
        StillTrainingError
            A child is at it, or waits for its turn.
        UnavailableError
            The parent model is not here yet.
        """
        if inputs.model is None:
            msg = "the terms name no model to train"
            raise TrainerError(msg)
        parent = open_model(self.blobs.open(inputs.parent[0]), inputs.model.parameters)
        arrays = parent.arrays()
        work = self.trained(inputs, arrays, protection)
        trained: Arrays | None = work.parameters
        if self.knowledge is not None:
            generator = np.random.default_rng([self._seed(inputs), 1])
            trained = self._conduct.poison_update(
                work.parameters, arrays, generator, self.knowledge
            )
        if trained is None:
            msg = "nothing to submit"
            raise TrainerError(msg)
        writer = self.blobs.create()
        try:
            if protection is not None and work.uncovered is not None and trained is work.parameters:
                steps = work.uncovered.protect(protection.law, self._entropy(inputs))
                root, size = write_update(steps, inputs.model, writer)
            else:
                root, size = quantise(parent, trained, inputs.model, writer)
        except ConfigError as error:
            writer.abort()
            raise TrainerError(str(error)) from error
        weight = 1 if self._terms.weights[0] == "equal" else max(1, work.num_examples)
        return Artefact(root, size, (inputs.parent[0],), min(weight, 2**32 - 1))

    def trained(self, inputs: Inputs, parent: Arrays, protection: Protection | None = None) -> Work:
        """Return what the trainer makes of the parent; a dishonest member's is asked only once.

        It is remembered for allies who want to see it before or after the member itself does.

        Raises
        ------
        TrainerError, StillTrainingError
            As from `train`.
        """
        asked = (inputs.key, inputs.parent)
        if self._trained is not None and self._trained[0] == asked:
            found = self._trained[1]
        else:
            try:
                found = self._work(inputs, parent, protection)
            except TrainerError as error:
                found = error
            self._trained = (asked, found) if self._conduct is not HONEST else None
        if isinstance(found, TrainerError):
            raise found
        return found

    def enrol(self) -> Artefact:
        """See `Desk.enrol`.

        Raises
        ------
        TrainerError
            This member has no data set to name, or the terms would understate what is spent.
        """
        check_tables(self._terms)
        if not self._dataset:
            msg = "no data set is registered here"
            raise TrainerError(msg, hint="register one and declare its budget")
        return Artefact(self._dataset, 0)

    def blend(self, inputs: Inputs, new: Artefact, old: bytes, share_bps: int) -> Artefact:
        """See `Desk.blend`."""
        if inputs.model is None or not self.holds(old):
            return new
        weights = (WHOLE_BPS - share_bps, share_bps)
        root, size = self._workbench.mix((new.root, old), inputs.model, weights, WHOLE_BPS)
        return Artefact(root, size, new.parents, new.weight, new.statement)

    def evaluate(self, inputs: Inputs, parent: tuple[bytes, int], *updates: bytes) -> int | None:
        """See `Desk.evaluate`.

        Raises
        ------
        TrainerError
            The model without an update cannot be scored: then nothing can.
        UnavailableError
            The model or an update is not here yet.
        """
        if inputs.model is None:
            msg = "the terms name no model to score"
            raise TrainerError(msg)
        config, limit = self._config(inputs), self.limit_seconds
        if not updates:
            arrays = self._workbench.preview(parent, inputs.model)
            metrics, _ = evaluate_once(self._trainer, arrays, config, limit_seconds=limit)
            return score_bps(metrics, self._terms.score)
        try:
            arrays = self._workbench.preview(parent, inputs.model, *updates)
            return score_update(
                self._trainer, arrays, config, self._terms.score, limit_seconds=limit
            )
        except NonFiniteError:
            return 0
        except TrainerError as error:
            told = f"\n{error.traceback.rstrip()}" if error.traceback else ""
            names = ", ".join(update.hex()[:12] for update in updates)
            LOG.warning("%s cannot score update %s: %s%s", self._member, names, error, told)
            return None

    def commit(self, inputs: Inputs) -> Artefact:
        """See `Desk.commit`: whatever the trainer's ``commitment`` method returns for the stage.

        A trainer without one commits to the number of examples it evaluates on, and no bytes.

        Raises
        ------
        TrainerError
            The trainer's method raised, or returned no bytes.
        """
        commitment = getattr(self._trainer, "commitment", None)
        if callable(commitment):
            data = commit_once(commitment, inputs.key.stage)
            writer = self.blobs.create()
            writer.write(data)
            root, size = writer.commit()
            return Artefact(root, size)
        if inputs.model is None:
            return Artefact(hashlib.sha256(self._member.encode()).digest(), 0)
        arrays = self._workbench.preview(inputs.parent, inputs.model)
        _, count = evaluate_once(self._trainer, arrays, self._config(inputs))
        return Artefact(hashlib.sha256(self._member.encode()).digest(), 0, weight=max(1, count))

    def holds(self, root: bytes) -> bool:
        """Whether the blob is here and whole."""
        try:
            self.blobs.open(root)
        except UnavailableError:
            return False
        return True

    @property
    def is_training(self) -> bool:
        """Whether a child is at work for this task, or waits for its turn."""
        return bool(self._training)

    def end_unasked(self) -> None:
        """End the training that nobody has asked for since this was last called."""
        for key in set(self._training) - self._asked:
            self._training.pop(key).close()
        self._asked.clear()

    def close(self) -> None:
        """End all training."""
        self._asked.clear()
        self.end_unasked()

    def _work(self, inputs: Inputs, parent: Arrays, protection: Protection | None) -> Work:
        if protection is None or inputs.model is None:
            result = self._train(inputs, parent)
            return Work(result.parameters, result.num_examples)
        try:
            total = ClippedSum(inputs.model, protection.clipping_norm_micros)
        except ConfigError as error:
            raise TrainerError(str(error), hint=error.hint) from error
        if protection.unit == ROW:
            result = self._train(inputs, parent, total)
            total.merge(result.parameters, result.num_examples)
        else:
            result = self._train(inputs, parent)
            total.add(_change(result.parameters, parent))
        return Work(total.applied(parent), result.num_examples, total)

    def _train(self, inputs: Inputs, parent: Arrays, rows: ClippedSum | None = None) -> TrainResult:
        config, limit = self._config(inputs), self.limit_seconds
        if self._children is None:
            return train_once(self._trainer, parent, config, limit_seconds=limit, rows=rows)
        key = (inputs.key, inputs.parent)
        self._asked.add(key)
        training = self._training.get(key)
        if training is None:
            training = self._training[key] = Training(
                self._children, self._trainer, parent, config, limit_seconds=limit, rows=rows
            )
        try:
            result = training.result()
        except BaseException:
            self._training.pop(key).close()
            raise
        if result is None:
            raise StillTrainingError
        del self._training[key]
        return result

    def _entropy(self, inputs: Inputs) -> Entropy:
        if not self.noise_secret:
            return os.urandom
        return reproducible(sha256("noise", self.noise_secret, encode(inputs.key)))

    def _seed(self, inputs: Inputs) -> int:
        return training_seed(inputs.key.task, inputs.key.round, self._member)

    def _config(self, inputs: Inputs) -> dict[str, Any]:
        return config_of(self._settings, inputs.key.task, inputs.key.round, self._member)


def _change(new: Arrays, old: Arrays) -> Arrays:
    """Return what changed as one contribution, in float64."""
    wide = {name: (new[name].astype(np.float64), old[name].astype(np.float64)) for name in old}
    return {name: (after - before)[None] for name, (after, before) in wide.items()}
