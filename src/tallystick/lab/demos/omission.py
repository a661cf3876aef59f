"""A leader that leaves a committed update out: no quorum signs that, and no replica takes it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tallystick.crypto import keys
from tallystick.federation.conduct import Honest
from tallystick.federation.trial import secret_of
from tallystick.lab.demos.checks import Check, same
from tallystick.lab.demos.hand import Attempt, Hands, live_view, replica_takes
from tallystick.lab.demos.world import scratch_folder
from tallystick.ledger.collect.attest import ATTEST_DOMAIN
from tallystick.ledger.collect.rows import STAGES
from tallystick.ledger.collect.view import TaskView, attested_message, inputs_root
from tallystick.ledger.messages import Collect, Open, Opening, entry_of
from tallystick.mechanisms.records import ROUND, Attestation, Output

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tallystick.federation.conduct import Moment
    from tallystick.federation.simulation import Federation
    from tallystick.lab.demos.world import World
    from tallystick.ledger.collect.recipe import Step
    from tallystick.ledger.collect.rows import StageRow

__all__ = ["omission_checks"]

AGGREGATE = "aggregate"
NO_QUORUM = 512  # the code of `tallystick.ledger.collect.attest.NoQuorumError`


def omission_checks(world: World, prefix: str = "") -> Iterable[Check]:
    """Yield what becomes of a model made without one of the updates that were committed.

    The first member is the leader. It signs that model, opens it, and puts it into a block.
    """
    script = _Leader(world.members[0])
    waiting = {name: _Waits(script) for name in world.members}
    with scratch_folder() as folder:
        run = world.run(folder, conduct=waiting, rounds=1, watch=script)
    attempt = script.attempt
    yield same(
        f"{prefix}omission-refused",
        None if attempt is None else attempt.code if attempt.harmless else -1,
        NO_QUORUM,
        f"A model made without one of {script.updates} updates is refused with code {NO_QUORUM}: "
        "only the leader signs it.",
    )
    yield same(
        f"{prefix}leader-block-refused",
        script.block_refused,
        expected=True,
        says="A block in which the leader takes it all the same is refused by every replica.",
    )
    yield same(
        f"{prefix}omitted-update-counts",
        f"{run.status}, {run.completed} model",
        "done, 1 model",
        "The others sign what all updates come to, and the round ends with that.",
    )


class _Waits(Honest):
    """Signs no model before the leader has tried its own."""

    def __init__(self, script: _Leader) -> None:
        self._script = script

    def present(self, moment: Moment) -> bool:
        """See `Conduct.present`."""
        signs = moment.key.stage == AGGREGATE and moment.window == "attest"
        return self._script.attempt is not None or not signs


class _Leader:
    """Called after every block: tries once, when the round's model is asked for."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.attempt: Attempt | None = None
        self.block_refused: bool | None = None
        self.updates = 0

    def __call__(self, federation: Federation) -> None:
        view = live_view(federation)
        if view is None or self.attempt is not None or view.row.phase != ROUND:
            return
        step = view.plan.find(ROUND, AGGREGATE)
        for key in view.row.open:
            stage = view.state.get(STAGES, key)
            if stage is not None and step is not None and key.stage == AGGREGATE:
                self._try(federation, view, step, stage)

    def _try(self, federation: Federation, view: TaskView, step: Step, stage: StageRow) -> None:
        inputs = view.inputs(step, stage.key.group)
        whole = inputs.of[0]
        self.updates = len(whole.live)
        left = tuple(each for each in whole.subjects if each is not whole.live[0])
        short = replace(inputs, of=(Output(left),), workbench=federation.workbench)
        false = step.rule.fold((), short)
        root = inputs_root(inputs)
        message = attested_message(stage.key, root, step.rule.id, false.root)
        secret = secret_of(federation.seed, self.name, "worker")
        signature = keys.sign(secret, ATTEST_DOMAIN, message)
        hands = Hands()
        key = stage.key
        entry = entry_of(key, Attestation(signature))
        hands.send(federation, self.name, Collect(view.row.id, (entry,)))
        federation.engine.seal_pending(federation.engine.head.time + 1)
        opening = Open(view.row.id, key.phase, key.round, (Opening(key.stage, key.group, false),))
        claimed = hands.sign(federation, self.name, opening)
        self.block_refused = not replica_takes(federation, claimed, code=0)
        self.attempt = hands.attempt(federation, self.name, opening)
