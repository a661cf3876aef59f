"""Members who try what the ledger must not let them do, each at the right moment.

They do so in a federation of their own: the same members, data and recipe, for as many rounds as
the attempts need. So a demo's run stays as it was, and can be interrupted and go on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tallystick.crypto.hashes import sha256
from tallystick.federation.conduct import Honest
from tallystick.federation.desk import settings_of, training_seed
from tallystick.lab.demos.checks import Check, holds, same
from tallystick.lab.demos.hand import Attempt, Hands, live_view
from tallystick.lab.demos.world import scratch_folder
from tallystick.ledger.collect.beacon import seal_of
from tallystick.ledger.collect.rows import RECORDS, STAGES, MemberRow
from tallystick.ledger.collect.view import TaskView
from tallystick.ledger.contracts import access, accounts
from tallystick.ledger.messages import BuyAccess, Collect, Entry, entry_of
from tallystick.mechanisms import reasons
from tallystick.mechanisms.records import ROUND, Artefact, Opinion, Seal
from tallystick.tensors.model import open_model
from tallystick.tensors.update import quantise

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tallystick.federation.conduct import Moment
    from tallystick.federation.run import Run
    from tallystick.federation.simulation import Federation
    from tallystick.lab.demos.world import World
    from tallystick.ledger.collect.rows import StageRow

__all__ = ["Found", "probe", "probe_checks"]

VISITOR = "visitor"
UPDATE, SCORE = "update", "score"

# What each attempt must be refused with: the codes of `tallystick.ledger.collect.row` and access.
CODES = {
    "copied-update": 510,
    "second-update": 507,
    "outsider-update": 506,
    "late-update": 505,
    "second-score": 507,
    "outsider-score": 506,
    "late-score": 505,
    "unknown-update-score": 511,
    "reader-without-fee": 432,
    "reader-below-fee": 431,
}
SAYS = {
    "copied-update": "another member's revealed update under one's own name is refused",
    "second-update": "a second update by one member is refused",
    "outsider-update": "an update by a member of the ledger that is no party is refused",
    "late-update": "an update after its stage has closed is refused",
    "second-score": "a second score by one scorer is refused",
    "outsider-score": "a score by a member of the ledger that is no party is refused",
    "late-score": "a score after its stage has closed is refused",
    "unknown-update-score": "a score about updates that the stage does not have is refused",
    "reader-without-fee": "a reader who has not paid is refused",
    "reader-below-fee": "a reader who offers less than the fee is refused",
}


@dataclass
class Found:
    """What the probes came to.

    Attributes
    ----------
    attempts
        By the probe's name; one that never had its moment is missing, and its check fails.
    stale
        The reason code of the update that was built on an old model; `None` if it was not refused.
    paid_reader
        Whether the visitor could read once it had paid, with no money made or lost.
    """

    attempts: dict[str, Attempt] = field(default_factory=dict[str, Attempt])
    stale: int | None = None
    paid_reader: bool | None = None


def probe(world: World) -> Found:
    """Run the federation of the probes; what is tried depends on the recipe's stages."""
    with scratch_folder() as folder:
        script = _Script(world)
        conduct = {name: _Pausing(script.paused, name) for name in world.members}
        rounds = 1 if script.scores else 2
        run = world.run(folder, conduct=conduct, outsiders=(VISITOR,), watch=script, rounds=rounds)
        script.found.stale = _stale_code(run, script.stale_by)
        return script.found


def probe_checks(found: Found, world: World) -> Iterable[Check]:
    """Yield a check for each attempt that the recipe has room for."""
    scores = SCORE in world.shipped.tables
    wanted = ["copied-update"]
    if scores:
        wanted += ["second-score", "outsider-score", "late-score", "unknown-update-score"]
        wanted += ["reader-without-fee", "reader-below-fee"]
    else:
        wanted += ["second-update", "outsider-update", "late-update"]
    for name in wanted:
        attempt = found.attempts.get(name)
        says = f"{SAYS[name][0].upper()}{SAYS[name][1:]} with code {CODES[name]}"
        slug = f" ({attempt.slug})" if attempt is not None and attempt.slug else ""
        yield same(
            name,
            None if attempt is None else attempt.code if attempt.harmless else -1,
            CODES[name],
            f"{says}{slug}, and the state root stays as it was.",
        )
    if scores:
        yield holds(
            "reader-who-paid",
            found.paid_reader,
            "Once the fee is paid the reader is let in, and no money was made or lost.",
        )
    else:
        yield same(
            "stale-parent",
            found.stale,
            reasons.STALE_PARENT,
            "An update built on an older model is refused for its stale parent.",
        )


class _Pausing(Honest):
    """Honest, but silent in windows that a probe wants to keep open."""

    def __init__(self, paused: set[tuple[str, str, str]], name: str) -> None:
        self._paused = paused
        self._name = name

    def present(self, moment: Moment) -> bool:
        """See `Conduct.present`."""
        return (self._name, moment.key.stage, moment.window) not in self._paused


class _Script:
    """Called after every block: tries each thing once, when its moment has come."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.hands = Hands()
        self.found = Found()
        self.paused: set[tuple[str, str, str]] = set()
        self.scores = SCORE in world.shipped.tables
        self.stale_by = ""
        self._done: set[tuple[int, str, str]] = set()
        self._secrets: dict[str, tuple[Entry, Seal]] = {}
        self._last: dict[str, tuple[str, Entry]] = {}

    def __call__(self, federation: Federation) -> None:
        view = live_view(federation)
        if view is None or view.row.phase != ROUND:
            return
        self._late(federation, view)
        for key in view.row.open:
            stage = view.state.get(STAGES, key)
            if stage is None or (key.round, key.stage, stage.window) in self._done:
                continue
            name = f"_{key.stage}_{stage.window}_{key.round}"
            act = getattr(self, name, None)
            if act is not None and act(federation, view, stage):
                self._done.add((key.round, key.stage, stage.window))

    def _update_seal_1(self, federation: Federation, view: TaskView, stage: StageRow) -> bool:
        """Keep the window open by one silent trainer, and seal twice and from outside."""
        names = [seat.member for seat in stage.roster]
        slow, quick = names[0], names[-1]
        self.paused.add((slow, UPDATE, "reveal"))
        if self.scores:
            return True
        if not _row(view, stage, quick).seal:
            self.paused.add((slow, UPDATE, "seal"))
            return False
        entry = entry_of(stage.key, Seal(sha256("probe", b"another")))
        self._try(federation, view, "second-update", quick, entry)
        self._try(federation, view, "outsider-update", VISITOR, entry)
        self._last["late-update"] = (slow, entry)
        self.paused.discard((slow, UPDATE, "seal"))
        return True

    def _update_reveal_1(self, federation: Federation, view: TaskView, stage: StageRow) -> bool:
        """Copy the first update that somebody else revealed."""
        names = [seat.member for seat in stage.roster]
        seen = _row(view, stage, names[-1]).record
        if seen is None:
            return False
        entry = entry_of(stage.key, seen, sha256("probe", b"salt"))
        self._try(federation, view, "copied-update", names[0], entry)
        self.paused.discard((names[0], UPDATE, "reveal"))
        return True

    def _update_seal_2(self, federation: Federation, view: TaskView, stage: StageRow) -> bool:
        """Train on the first model once more, although there is a newer one."""
        name = self.stale_by = stage.roster[0].member
        self.paused |= {(name, UPDATE, window) for window in ("seal", "reveal")}
        entry = entry_of(
            stage.key, self._train_stale(federation, view, name), sha256("probe", b"old")
        )
        seal = Seal(seal_of(stage.key, entry.record, name, entry.salt))
        self._secrets[UPDATE] = (entry, seal)
        self.hands.send(federation, name, Collect(view.row.id, (entry_of(stage.key, seal),)))
        return True

    def _update_reveal_2(self, federation: Federation, view: TaskView, stage: StageRow) -> bool:
        del stage
        entry, _ = self._secrets[UPDATE]
        self.hands.send(federation, self.stale_by, Collect(view.row.id, (entry,)))
        return True

    def _score_seal_1(self, federation: Federation, view: TaskView, stage: StageRow) -> bool:
        """One scorer seals nonsense, one will be slow; a visitor would like to score, too."""
        names = [seat.member for seat in stage.roster]
        entry = entry_of(stage.key, Seal(sha256("probe", b"score")))
        self._try(federation, view, "outsider-score", VISITOR, entry)
        liar, slow = names[0], names[1]
        self.paused |= {(liar, SCORE, window) for window in ("seal", "reveal")}
        self.paused.add((slow, SCORE, "reveal"))
        size = len(view.inputs(view.plan.phases[ROUND][view.row.position]).subjects)
        nonsense = Opinion(sha256("probe", b"no such list"), (0,) * (size + 1))
        told = entry_of(stage.key, nonsense, sha256("probe", b"nonsense"))
        seal = Seal(seal_of(stage.key, nonsense, liar, told.salt))
        self._secrets[SCORE] = (told, seal)
        self.hands.send(federation, liar, Collect(view.row.id, (entry_of(stage.key, seal),)))
        return True

    def _score_reveal_1(self, federation: Federation, view: TaskView, stage: StageRow) -> bool:
        """Reveal the nonsense; then score a second time while the slow one is waited for."""
        names = [seat.member for seat in stage.roster]
        if "unknown-update-score" not in self.found.attempts:
            told, _ = self._secrets[SCORE]
            self._try(federation, view, "unknown-update-score", names[0], told)
        first = _row(view, stage, names[2]).record
        if not isinstance(first, Opinion):
            return False
        again = Opinion(first.subjects, tuple(10_000 for _ in first.vector))
        entry = entry_of(stage.key, again, sha256("probe", b"again"))
        self._try(federation, view, "second-score", names[2], entry)
        self._last["late-score"] = (names[2], entry)
        self.paused.discard((names[1], SCORE, "reveal"))
        return True

    def _late(self, federation: Federation, view: TaskView) -> None:
        """Say again what could be said in a stage that has closed since."""
        for name, (member, entry) in self._last.items():
            closed = (entry.round, entry.stage) != (view.row.round, _open_stage(view))
            if closed and name not in self.found.attempts:
                self._try(federation, view, name, member, entry)
                if name == "late-score":
                    self._read(federation, view)

    def _read(self, federation: Federation, view: TaskView) -> None:
        """Read without paying, offer too little, then pay."""
        task, fee = view.row.id, view.terms.read_fee
        self.found.attempts["reader-without-fee"] = _ask(federation, task)
        if fee:
            self.found.attempts["reader-below-fee"] = self.hands.attempt(
                federation, VISITOR, BuyAccess(task, fee - 1)
            )
        money = accounts.totals(federation.engine.state).balances
        self.hands.send(federation, VISITOR, BuyAccess(task, fee))
        federation.engine.seal_pending(federation.engine.head.time + 1)
        state = federation.engine.state
        self.found.paid_reader = (
            access.has_access(state, task, VISITOR) and accounts.totals(state).balances == money
        )

    def _try(
        self, federation: Federation, view: TaskView, name: str, member: str, entry: Entry
    ) -> None:
        message = Collect(view.row.id, (entry,))
        self.found.attempts[name] = self.hands.attempt(federation, member, message)

    def _train_stale(self, federation: Federation, view: TaskView, name: str) -> Artefact:
        spec = view.terms.model
        if spec is None:
            msg = "a demo's task has a model"
            raise AssertionError(msg)
        parent = open_model(federation.blobs.open(spec.root), spec.parameters)
        seed = training_seed(view.row.id, view.row.round, name)
        config = {**settings_of(view.terms), "seed": seed}
        trained, _ = self.world.trainers[name].train(parent.arrays(), config)
        root, size = quantise(parent, trained, spec, federation.blobs.create())
        return Artefact(root, size, (spec.root,))


def _ask(federation: Federation, task: bytes) -> Attempt:
    """Let the visitor read as whoever serves blobs would, asking the access contract first."""
    state = federation.engine.state
    before = state.root
    try:
        access.check_access(state, task, VISITOR)
    except access.NoAccessError as error:
        return Attempt(error.code, error.slug, state.root == before)
    return Attempt(0, "", harmless=False)


def _row(view: TaskView, stage: StageRow, member: str) -> MemberRow:
    return view.state.get(RECORDS, stage.key, member) or MemberRow()


def _open_stage(view: TaskView) -> str:
    return view.row.open[0].stage if view.row.open else ""


def _stale_code(run: Run, member: str) -> int | None:
    """Return why the member's last update was refused, `None` if it was not."""
    codes = [found.code for found in run.history.refusals if found.member == member]
    return codes[-1] if codes else None
