"""Engines: identical blocks lead to identical roots and receipts, whoever executes them.

An engine under test takes the wire bytes of a block and seals them at a time; another engine joins
the suite by one entry in `ENGINES`.

A genesis names its engine, its hash is in every signature, and only under CometBFT do rows say who
validates. So no block is one of both kinds of ledgers, and each engine is compared with the kernel
alone under a genesis of its own kind (``ledger``). That the kinds differ in nothing else is a test
by itself: the same messages, signed for either, lead to the same receipts and the same other rows.
"""

import sqlite3

import pytest
from support.chaos import Chaos
from support.comet_engines import BegunComet, CrashedComet, FreshComet, ReopenedComet
from support.play import Play
from support.terms import RECIPES
from support.validators import Validators, new_key
from support.world import World, digest, make_genesis, rotation, secret_of

from tallystick.codec import decode, encode
from tallystick.consensus.engine import RetryLaterError
from tallystick.consensus.pow import Node
from tallystick.consensus.solo import Solo, SoloSeal, check_seal
from tallystick.errors import ConfigError, RejectedError, UnavailableError, VerificationError
from tallystick.ledger import dispatch
from tallystick.ledger.contracts import validators
from tallystick.ledger.contracts.validators import VALIDATORS
from tallystick.ledger.kernel import Kernel
from tallystick.ledger.messages import (
    Grant,
    ProposeChange,
    RegisterDataset,
    Remove,
    Seat,
    Transfer,
    Unseat,
    Vote,
)
from tallystick.ledger.state import state_from_rows
from tallystick.storage.sqlite import LedgerStore


class FreshSolo:
    """A solo ledger in one process."""

    ledger = "solo"

    def __init__(self, genesis, folder):
        self.path = folder / "ledger.sqlite"
        self.secret = secret_of(genesis.sealer)
        self.engine = Solo(LedgerStore(self.path), genesis, self.secret)

    def seal(self, outcome):
        for tx in outcome.transactions:
            self.engine.submit(tx.wire)
        self.engine.seal(outcome.header.time)
        return self.engine.head, [self.engine.outcome(tx.hash) for tx in outcome.transactions]

    def leaves(self, task):
        return [leaf for _, leaf in self.engine.leaves(task)]

    def rows(self):
        return dict(self.engine.state.rows())

    def close(self):
        self.engine.close()


class ReopenedSolo(FreshSolo):
    """A solo ledger whose process ends after every block."""

    def seal(self, outcome):
        super().seal(outcome)
        self.engine.close()
        self.engine = Solo(LedgerStore(self.path), secret=self.secret)
        return self.engine.head, [self.engine.outcome(tx.hash) for tx in outcome.transactions]


class CrashedSolo(FreshSolo):
    """A solo ledger that is killed before each block is written, and starts again."""

    def seal(self, outcome):
        for tx in outcome.transactions:
            self.engine.submit(tx.wire)
        # Executed but never committed: a new process knows nothing of it.
        waiting = [self.engine.kernel.check(self.engine.state, tx.wire, self.engine.head.time)
                   for tx in outcome.transactions]  # fmt: skip
        self.engine.kernel.propose(
            self.engine.state, self.engine.head, outcome.header.time, waiting
        )
        self.engine.close()
        self.engine = Solo(LedgerStore(self.path), secret=self.secret)
        return super().seal(outcome)


class Replay:
    """The kernel alone, applying blocks that others proposed to a state rebuilt from its rows."""

    ledger = "solo"

    def __init__(self, genesis, folder):
        self.kernel = Kernel(genesis)
        self.state, self.head = self.kernel.found()
        self.logged = {}

    def seal(self, outcome):
        self.state = state_from_rows(dict(self.state.rows()))
        found = self.kernel.apply(self.state, self.head, outcome.block)
        self.state.commit(found.changes)
        self.head = found.header
        for task, leaf in found.logged:
            self.logged.setdefault(task, []).append(leaf)
        return self.head, list(found.receipts)

    def leaves(self, task):
        return self.logged.get(task, [])

    def rows(self):
        return dict(self.state.rows())

    def close(self):
        pass


class ReplayUnderComet(Replay):
    """The same, on a ledger that CometBFT orders."""

    ledger = "cometbft"


class Mined:
    """A miner's node that solves a puzzle for every block; what it mines is final at once."""

    ledger = "solo"

    def __init__(self, genesis, folder):
        self.node = Node("alpha", genesis, confirmations=0, tries=8)

    def seal(self, outcome):
        for tx in outcome.transactions:
            self.node.submit(tx.wire)
        block, _ = self.node.mine(outcome.header.time)
        self.node.receive(block)
        return self.node.head, [self.node.outcome(tx.hash) for tx in outcome.transactions]

    def leaves(self, task):
        return [leaf for _, leaf in self.node.leaves(task)]

    def rows(self):
        return dict(self.node.state.rows())

    def close(self):
        assert [block.header.height for block in self.node.blocks(2)] == list(
            range(2, self.node.head.height + 1)
        )


class Reorganised(Mined):
    """A node that executed a branch of its own before each block it hears of, and gave it up."""

    def __init__(self, genesis, folder):
        super().__init__(genesis, folder)
        self.other = Node("bravo", genesis, confirmations=2)
        self.node.tries = self.other.tries

    def seal(self, outcome):
        for tx in outcome.transactions:
            self.other.hear(tx.wire)
        if self.other.tip == self.node.tip:
            rival, _ = self.other.mine(outcome.header.time + 1)
            self.other.receive(rival)
        found = super().seal(outcome)
        self.other.receive(self.node.branch[-1])
        return found

    def close(self):
        assert set(self.other.reorganisations) == {1}

    def leaves(self, task):
        return [leaf for _, leaf in self.other.leaves(task)]

    def rows(self):
        """Let the last blocks become final under empty ones, which change no row."""
        for _ in range(3):
            block, _ = self.node.mine(self.node.tip.time)
            self.node.receive(block)
            self.other.receive(block)
        return dict(self.other.state.rows())


ENGINES = [
    FreshSolo,
    ReopenedSolo,
    CrashedSolo,
    Replay,
    Mined,
    Reorganised,
    ReplayUnderComet,
    FreshComet,
    ReopenedComet,
    CrashedComet,
    BegunComet,
]


def quiet_history(world, recipes=tuple(RECIPES)):
    """Return a ledger on which recipes were played to their end."""
    for recipe in recipes:
        Play(world, RECIPES[recipe](name=recipe, rounds=2)).finish()
        world.send("bravo", Transfer("alpha", 5))
        world.send("bravo", RegisterDataset(digest(recipe), 5))
    return world


def chaotic_history(make_world):
    """Return a ledger on which members are absent, late and lying."""
    for seed in range(50):
        chaotic = Chaos("bflc", seed, audited=False, make_world=make_world)
        chaotic.run()
        if len(chaotic.world.outcomes) > 60 and chaotic.play.forfeited():
            break
    return chaotic.world


@pytest.fixture(scope="module")
def histories():
    """Return ledgers of each kind with everything on them: one quiet, one chaotic."""
    seated = Validators(audited=False)
    seated.vote(Unseat("delta"))
    quiet_history(seated, ("bflc", "deepchain", "private"))
    seated.accept("bravo", new_key(seated, "bravo"))
    seated.vote(Seat("delta"))
    return {
        ("solo", "quiet"): quiet_history(World(audited=False)),
        ("solo", "chaotic"): chaotic_history(World),
        ("cometbft", "quiet"): seated,
        ("cometbft", "chaotic"): chaotic_history(Validators),
    }


@pytest.mark.parametrize("history", ["quiet", "chaotic"])
@pytest.mark.parametrize("engine", ENGINES, ids=lambda engine: engine.__name__)
def test_identical_blocks_lead_to_identical_roots_and_receipts(
    engine, history, histories, tmp_path
):
    world = histories[engine.ledger, history]
    subject = engine(world.genesis, tmp_path)
    for outcome in world.outcomes:
        header, receipts = subject.seal(outcome)

        assert header == outcome.header
        assert receipts == list(outcome.receipts)
    rows = subject.rows()
    logs = {task: subject.leaves(task) for task in world.leaves}
    subject.close()

    assert rows == dict(world.state.rows())
    assert logs == world.leaves


def test_the_histories_hold_more_than_a_few_blocks(histories):
    assert all(len(world.outcomes) > 30 for world in histories.values())
    assert all(any(o.receipts for o in world.outcomes) for world in histories.values())
    updates = [o.validator_updates for o in histories["cometbft", "quiet"].outcomes]
    assert sum(map(bool, updates)) == 3


def test_the_same_messages_do_the_same_on_both_kinds_of_ledgers():
    seated = Validators()
    alone = World(
        genesis=make_genesis(founders=seated.genesis.founders, engine="solo", sealer="alpha")
    )
    receipts = []
    for world in (alone, seated):
        for message in (
            Transfer("bravo", 7),
            RegisterDataset(digest("data"), 5),
            ProposeChange(Grant("charlie", 50)),
            Transfer("stranger", 2**60),
            Vote(digest("no such proposal")),
            rotation(world, "alpha"),
        ):
            world.send("alpha", message)
        world.seal()
        world.vote(Remove("delta"), proposer="bravo", voters=["bravo", "charlie", "delta"])
        receipts.append([each for o in world.outcomes for each in o.receipts])
    rows = [
        {key: row for key, row in world.state.rows() if key[0] != VALIDATORS.prefix}
        for world in (alone, seated)
    ]

    assert receipts[0] == receipts[1]
    assert rows[0] == rows[1]
    assert validators.seats(alone.state) == ()
    assert validators.seats(seated.state)


# --- what solo alone promises ---------------------------------------------------------------------


@pytest.fixture
def world():
    return World()


@pytest.fixture
def solo(world, tmp_path):
    engine = Solo(LedgerStore(tmp_path / "ledger.sqlite"), world.genesis, secret_of("alpha"))
    yield engine
    engine.close()


def test_a_block_is_sealed_by_the_sealers_key(world, solo):
    solo.submit(world.sign("bravo", Transfer("alpha", 1)).wire)
    solo.seal(world.now + 5)
    block = next(solo.blocks())

    check_seal(solo.state, world.genesis, block.header, block.evidence)
    seal = decode(SoloSeal, block.evidence)
    forged = encode(SoloSeal(seal.key, bytes(64)))
    with pytest.raises(VerificationError, match="does not verify"):
        check_seal(solo.state, world.genesis, block.header, forged)
    with pytest.raises(VerificationError, match="a key that 'alpha' does not have for it"):
        check_seal(solo.state, world.genesis, block.header, encode(SoloSeal(7, seal.signature)))


def test_a_refused_transaction_leaves_a_code_and_no_trace(world, solo):
    before = solo.state.root
    sent = solo.submit(world.sign("bravo", Transfer("alpha", 2**60)).wire)
    assert solo.outcome(sent) is None
    solo.seal(world.now + 5)

    assert solo.outcome(sent).code == 411
    assert solo.state.root == before
    assert solo.pending == 0


def test_what_cannot_be_in_any_block_is_refused_at_the_door(world, solo):
    with pytest.raises(RejectedError) as refused:
        solo.submit(world.sign("bravo", Transfer("alpha", 1), chain=bytes(32)).wire)
    assert refused.value.code == 103
    assert solo.pending == 0


def test_the_same_transaction_waits_once(world, solo):
    wire = world.sign("bravo", Transfer("alpha", 1)).wire

    assert solo.submit(wire) == solo.submit(wire)
    assert solo.pending == 1


def test_of_two_transactions_with_one_nonce_the_older_waits(world, solo):
    first, second = (world.sign("bravo", Transfer("alpha", n), nonce=1) for n in (1, 2))
    solo.submit(first.wire)
    with pytest.raises(RejectedError) as refused:
        solo.submit(second.wire)
    solo.seal(world.now + 5)

    assert refused.value.code == 104
    assert solo.outcome(first.hash).code == 0


def test_a_faulty_transaction_gets_a_code_too(world, solo, monkeypatch):
    def crash(state, context, message):
        raise ValueError

    monkeypatch.setitem(dispatch.HANDLERS, Transfer, crash)
    sent = solo.submit(world.sign("bravo", Transfer("alpha", 1)).wire)
    solo.seal(world.now + 5)

    assert solo.outcome(sent).code == 111
    assert solo.pending == 0


def test_members_have_equal_shares_of_the_mempool(world, solo, monkeypatch):
    monkeypatch.setattr("tallystick.consensus.pool.MOST_PENDING", 8)
    for _ in range(2):
        solo.submit(world.sign("bravo", Transfer("alpha", 1)).wire)

    with pytest.raises(RetryLaterError):
        solo.submit(world.sign("bravo", Transfer("alpha", 1)).wire)
    solo.submit(world.sign("charlie", Transfer("alpha", 1)).wire)
    solo.seal(world.now + 5)
    solo.submit(world.sign("bravo", Transfer("alpha", 1)).wire)


def test_a_reader_without_the_key_seals_nothing(world, tmp_path):
    Solo(LedgerStore(tmp_path / "ledger.sqlite"), world.genesis).close()
    reader = Solo(LedgerStore(tmp_path / "ledger.sqlite"))

    with pytest.raises(ConfigError):
        reader.seal(world.now)
    reader.close()


def test_another_genesis_does_not_open_a_ledger(world, tmp_path):
    Solo(LedgerStore(tmp_path / "ledger.sqlite"), world.genesis).close()
    store = LedgerStore(tmp_path / "ledger.sqlite")

    with pytest.raises(ConfigError):
        Solo(store, World(name="other").genesis)
    store.close()


def test_a_stranger_seals_nothing(world, tmp_path):
    engine = Solo(LedgerStore(tmp_path / "ledger.sqlite"), world.genesis, secret_of("bravo"))

    with pytest.raises(ConfigError):
        engine.seal(world.now)
    assert engine.head.height == 0
    engine.close()


def test_rows_changed_on_disk_are_found_when_the_ledger_is_opened(world, solo, tmp_path):
    solo.submit(world.sign("bravo", Transfer("alpha", 1)).wire)
    solo.seal(world.now + 5)
    with sqlite3.connect(tmp_path / "ledger.sqlite") as disk:
        disk.execute("DELETE FROM state WHERE key = (SELECT key FROM state LIMIT 1)")
    disk.close()
    store = LedgerStore(tmp_path / "ledger.sqlite")

    with pytest.raises(UnavailableError, match="damaged"):
        Solo(store)
    store.close()


def test_a_reader_that_opens_while_blocks_are_added_sees_one_moment(world, solo, tmp_path):
    def add_block():
        solo.submit(world.sign("bravo", Transfer("alpha", 1)).wire)
        solo.seal(solo.head.time + 5)

    class Slow(LedgerStore):
        def rows(self):
            found = super().rows()
            add_block()
            return found

    add_block()
    reader = Solo(Slow(tmp_path / "ledger.sqlite"))

    assert reader.head.height == 1
    assert solo.head.height == 2
    assert [block.header.height for block in reader.blocks()] == [1]
    reader.close()


def test_one_process_seals(world, solo, tmp_path):
    store = LedgerStore(tmp_path / "ledger.sqlite")

    with pytest.raises(UnavailableError, match="in use"):
        Solo(store, world.genesis, secret_of("alpha"))
    store.close()


def test_an_owner_key_seals_until_its_member_has_a_validator_key(world, tmp_path):
    engine = Solo(LedgerStore(tmp_path / "ledger.sqlite"), world.genesis, secret_of("alpha"))
    engine.submit(world.sign("alpha", rotation(world, "alpha", role="validator")).wire)
    engine.seal(world.now + 1000)
    with pytest.raises(ConfigError):
        engine.seal(world.now + 2000)
    engine.close()
    engine = Solo(LedgerStore(tmp_path / "ledger.sqlite"), secret=secret_of("alpha", 1))
    engine.seal(world.now + 2000)
    (first, second), before = engine.blocks(), world.kernel.found()[0]

    check_seal(before, world.genesis, first.header, first.evidence)
    check_seal(engine.state, world.genesis, second.header, second.evidence)
    with pytest.raises(VerificationError):
        check_seal(engine.state, world.genesis, first.header, first.evidence)
    engine.close()
