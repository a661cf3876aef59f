"""A member's own side of a rule: its trainer, its blobs, its secrets."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from tallystick.codec import encode
from tallystick.errors import ConfigError, UnavailableError
from tallystick.federation.arrays import TrainerError
from tallystick.federation.trainer import evaluate_once, score_bps, train_once
from tallystick.mechanisms.records import Artefact
from tallystick.tensors.model import open_model
from tallystick.tensors.update import quantise

if TYPE_CHECKING:
    from collections.abc import Callable

    from tallystick.federation.conduct import Conduct
    from tallystick.federation.trainer import Trainer
    from tallystick.ledger.terms import Terms
    from tallystick.mechanisms.rule import Inputs
    from tallystick.tensors.spec import Blobs
    from tallystick.tensors.workbench import Workbench

__all__ = ["MemberDesk", "settings_of", "training_seed"]

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


class MemberDesk:
    """What a rule's ``act`` may ask of its member.

    Parameters
    ----------
    isolate
        Train in a child process, so that a trainer that dies costs one turn.

    Attributes
    ----------
    limit_seconds
        How long the trainer may take: the window's length. Whoever acts through the desk sets it.
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
        result = train_once(
            self._trainer,
            arrays,
            self._config(inputs),
            limit_seconds=self.limit_seconds,
            isolate=self._isolate,
        )
        generator = np.random.default_rng([self._seed(inputs), 1])
        trained = self._conduct.poison_update(result.parameters, arrays, generator)
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

    def blend(self, inputs: Inputs, new: Artefact, old: bytes, share_bps: int) -> Artefact:
        """See `Desk.blend`."""
        if inputs.model is None or not self.holds(old):
            return new
        weights = (WHOLE_BPS - share_bps, share_bps)
        root, size = self._workbench.mix((new.root, old), inputs.model, weights, WHOLE_BPS)
        return Artefact(root, size, new.parents, new.weight, new.statement)

    def evaluate(self, inputs: Inputs, parent: tuple[bytes, int], *updates: bytes) -> int:
        """See `Desk.evaluate`."""
        if inputs.model is None:
            msg = "the terms name no model to score"
            raise TrainerError(msg)
        arrays = self._workbench.preview(parent, inputs.model, *updates)
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

    def _seed(self, inputs: Inputs) -> int:
        return training_seed(inputs.key.task, inputs.key.round, self._member)

    def _config(self, inputs: Inputs) -> dict[str, Any]:
        return {
            **self._settings,
            "round": inputs.key.round,
            "seed": self._seed(inputs),
            "member": self._member,
        }
