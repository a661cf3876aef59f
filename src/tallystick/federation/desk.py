"""A member's own side of a rule: its trainer, its blobs, its secrets."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from tallystick.codec import encode
from tallystick.errors import ConfigError, UnavailableError
from tallystick.federation.arrays import TrainerError
from tallystick.federation.conduct import HONEST
from tallystick.federation.trainer import evaluate_once, score_bps, train_once
from tallystick.mechanisms.records import Artefact
from tallystick.tensors.model import open_model
from tallystick.tensors.update import quantise

if TYPE_CHECKING:
    from collections.abc import Callable

    from tallystick.federation.arrays import Arrays
    from tallystick.federation.conduct import Conduct, Knowledge
    from tallystick.federation.trainer import Trainer, TrainResult
    from tallystick.ledger.terms import Terms
    from tallystick.mechanisms.rule import Inputs
    from tallystick.tensors.spec import Blobs
    from tallystick.tensors.workbench import Workbench

__all__ = ["MemberDesk", "settings_of", "training_seed"]


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


class MemberDesk:
    """What a rule's ``act`` may ask of its member.

    Parameters
    ----------
    isolate
        Train in a child process, so that a trainer that dies costs one turn.

    Attributes
    ----------
    limit_seconds
        How long the trainer may take: the window's length. Whoever acts through the desk sets it,
    knowledge
        and what a dishonest member may look at.
    """

    def __init__(
        self,
        member: str,
        trainer: Trainer,
        terms: Terms,
        workbench: Workbench,
        conduct: Conduct,
        *,
        isolate: bool = False,
    ) -> None:
        """Sit down."""
        self._member = member
        self._trainer = trainer
        self._terms = terms
        self._workbench = workbench
        self._conduct = conduct
        self._isolate = isolate
        self._settings = settings_of(terms)
        self.limit_seconds: float | None = None
        self.knowledge: Knowledge | None = None
        self._trained: tuple[object, TrainResult | TrainerError] | None = None

    @property
    def member(self) -> str:
        """See `Desk.member`."""
        return self._member

    @property
    def blobs(self) -> Blobs:
        """Where this member keeps bytes."""
        return self._workbench.blobs

    def train(self, inputs: Inputs) -> Artefact:
        """See `Desk.train`.

        Raises
        ------
        TrainerError
            The trainer failed, or what it returned is no update of this model.
        UnavailableError
            The parent model is not here yet.
        """
        if inputs.model is None:
            msg = "the terms name no model to train"
            raise TrainerError(msg)
        parent = open_model(self.blobs.open(inputs.parent[0]), inputs.model.parameters)
        arrays = parent.arrays()
        result = self.trained(inputs, arrays)
        trained: Arrays | None = result.parameters
        if self.knowledge is not None:
            generator = np.random.default_rng([self._seed(inputs), 1])
            trained = self._conduct.poison_update(trained, arrays, generator, self.knowledge)
        if trained is None:
            msg = "nothing to submit"
            raise TrainerError(msg)
        writer = self.blobs.create()
        try:
            root, size = quantise(parent, trained, inputs.model, writer)
        except ConfigError as error:
            writer.abort()
            raise TrainerError(str(error)) from error
        weight = 1 if self._terms.weights[0] == "equal" else max(1, result.num_examples)
        return Artefact(root, size, (inputs.parent[0],), min(weight, 2**32 - 1))

    def trained(self, inputs: Inputs, parent: Arrays) -> TrainResult:
        """Return what the trainer makes of the parent; a dishonest member's is asked only once.

        It is remembered for allies who want to see it before or after the member itself does.

        Raises
        ------
        TrainerError
            As from `train`.
        """
        asked = (inputs.key, inputs.parent)
        if self._trained is not None and self._trained[0] == asked:
            found = self._trained[1]
        else:
            try:
                found = train_once(
                    self._trainer,
                    parent,
                    self._config(inputs),
                    limit_seconds=self.limit_seconds,
                    isolate=self._isolate,
                )
            except TrainerError as error:
                found = error
            self._trained = (asked, found) if self._conduct is not HONEST else None
        if isinstance(found, TrainerError):
            raise found
        return found

    def evaluate(self, inputs: Inputs, parent: tuple[bytes, int], update: bytes | None) -> int:
        """See `Desk.evaluate`."""
        if inputs.model is None:
            msg = "the terms name no model to score"
            raise TrainerError(msg)
        arrays = self._workbench.preview(parent, inputs.model, update)
        metrics, _ = evaluate_once(
            self._trainer, arrays, self._config(inputs), limit_seconds=self.limit_seconds
        )
        return score_bps(metrics, self._terms.score)

    def commit(self, inputs: Inputs) -> Artefact:
        """See `Desk.commit`: whatever the trainer's ``commitment`` method returns for the stage.

        A trainer without one commits to the number of examples it evaluates on, and no bytes.
        """
        commitment = getattr(self._trainer, "commitment", None)
        if callable(commitment):
            writer = self.blobs.create()
            data = commitment(inputs.key.stage)
            if not isinstance(data, bytes):
                msg = "commitment() returned no bytes"
                raise TrainerError(msg)
            writer.write(data)
            root, size = writer.commit()
            return Artefact(root, size)
        if inputs.model is None:
            return Artefact(hashlib.sha256(self._member.encode()).digest(), 0)
        arrays = self._workbench.preview(inputs.parent, inputs.model, None)
        _, count = evaluate_once(self._trainer, arrays, self._config(inputs))
        return Artefact(hashlib.sha256(self._member.encode()).digest(), 0, weight=max(1, count))

    def holds(self, root: bytes) -> bool:
        """Whether the blob is here and whole."""
        try:
            self.blobs.open(root)
        except UnavailableError:
            return False
        return True

    def _seed(self, inputs: Inputs) -> int:
        return training_seed(inputs.key.task, inputs.key.round, self._member)

    def _config(self, inputs: Inputs) -> dict[str, Any]:
        return {
            **self._settings,
            "round": inputs.key.round,
            "seed": self._seed(inputs),
            "member": self._member,
        }
