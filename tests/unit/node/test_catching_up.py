"""The history before a snapshot: from whom it comes, what it confirms, and what it puts right."""

import threading
import time
from contextlib import ExitStack, closing

import pytest
from msgspec.structs import replace
from support.shown import Shown, grown
from support.validators import Validators

from tallystick.consensus.cometbft.replica import Replica
from tallystick.ledger.messages import Transfer
from tallystick.ledger.transaction import transaction_hash
from tallystick.node import catching_up as module
from tallystick.node.catching_up import FILE, Backfill, put_right, remove_ledger
from tallystick.storage.sqlite import LedgerStore

PATIENCE_SECONDS = 30
BASE = 3


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(module, "MOST_PAUSE_SECONDS", 0.1)


@pytest.fixture
def opened():
    with ExitStack() as stack:
        yield stack


class Newcomer:
    """A node's ledger that began with the state of block `BASE` of a world, under some header."""

    def __init__(self, folder, world, **forged):
        self.folder, self.world = folder, world
        self.left = threading.Event()
        self.open()
        header = replace(world.head, **forged)
        assert header.height == BASE
        self.replica.restore(dict(world.state.rows()), header)

    def open(self):
        self.replica = Replica(
            LedgerStore(self.folder / "ledger.db"),
            self.world.genesis,
            clock=lambda: self.world.now,
        )

    def follow(self, count, *, proven=True):
        grown(self.world, count)
        for outcome in self.world.outcomes[-count:]:
            header = outcome.header
            self.replica.finalize(header.height, header.time, outcome.block.transactions)
            self.replica.commit()
            if proven:
                self.replica.prove(header.height, b"what was signed")

    def backfill(self, *nodes):
        urls = [each.url for each in nodes]
        made = Backfill(self.folder, self.world.genesis, urls, self.replica, leave=self.left.set)
        made.start()
        return made

    def until(self, reached):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not reached():
            assert time.monotonic() < deadline, "it never came"
            time.sleep(0.01)

    @property
    def evidence(self):
        return list((self.folder / "evidence").glob("*.json"))


@pytest.fixture
def world():
    return grown(Validators(audited=False), BASE)


@pytest.fixture
def begin(tmp_path, world, opened):
    def make(**forged):
        made = Newcomer(tmp_path, world, **forged)
        opened.callback(lambda: made.replica.close())  # noqa: PLW0108 - it may be another then
        return made

    return make


def show(opened, world):
    return opened.enter_context(closing(Shown(world)))


@pytest.mark.parametrize("place", [0, 1])
def test_a_node_that_lies_is_asked_no_more_and_the_next_one_is(opened, world, begin, place):
    newcomer = begin()
    honest, liar = show(opened, world), show(opened, world)
    liar.blocks[0] = replace(liar.blocks[0], evidence=b"junk")
    nodes = [honest]
    nodes.insert(place, liar)
    backfill = newcomer.backfill(*nodes)
    newcomer.until(lambda: newcomer.replica.base is None)
    backfill.stop()

    assert [block.header for block in newcomer.replica.blocks()] == [
        each.header for each in world.outcomes
    ]
    assert len(newcomer.evidence) == 1 - place
    assert not (newcomer.folder / FILE).exists()


def test_where_every_node_lies_each_is_written_down_once(opened, world, begin):
    newcomer = begin()
    liar = show(opened, world)
    liar.blocks[0] = replace(liar.blocks[0], evidence=b"junk")
    backfill = newcomer.backfill(liar)
    newcomer.until(lambda: liar.asked.get("/v1/blocks", 0) > 5)
    backfill.stop()

    assert newcomer.replica.base is not None
    assert len(newcomer.evidence) == 1


def test_a_node_that_shows_nothing_is_passed_over(opened, world, begin):
    newcomer = begin()
    honest, silent = show(opened, world), show(opened, world)
    silent.show_blocks = lambda _: b""
    backfill = newcomer.backfill(silent, honest)
    newcomer.until(lambda: newcomer.replica.base is None)
    backfill.stop()

    assert silent.asked["/v1/blocks"] == 1


# --- a false header -------------------------------------------------------------------------------

FORGED = {"parent": b"x" * 32, "tx_root": b"y" * 32, "receipts_root": b"z" * 32}


@pytest.fixture
def fooled(world, begin, opened):
    """Return a newcomer that began with a false header, followed, and has found out."""
    newcomer = begin(**FORGED)
    node = show(opened, world)
    newcomer.follow(2)
    newcomer.follow(1, proven=False)
    newcomer.waits = world.sign("bravo", Transfer("alpha", 7)).wire
    newcomer.replica.submit(newcomer.waits)
    assert newcomer.replica.head != world.head
    assert newcomer.replica.state.root == world.state.root
    backfill = newcomer.backfill(node)
    assert newcomer.left.wait(PATIENCE_SECONDS)
    backfill.stop()
    newcomer.asked = node.asked["/v1/blocks"]
    newcomer.replica.close()
    return newcomer


def test_a_false_header_is_replaced_by_the_blocks_that_were_fetched(world, fooled):
    put_right(fooled.folder, world.genesis)
    fooled.open()
    replica = fooled.replica

    assert replica.head == world.head
    assert replica.base is None
    assert dict(replica.state.rows()) == dict(world.state.rows())
    blocks = list(replica.blocks())
    assert [each.header for each in blocks] == [each.header for each in world.outcomes]
    assert [each.evidence for each in blocks[BASE:]] == [b"what was signed"] * 2 + [b""]
    assert all(each.evidence for each in blocks[:BASE])
    assert replica.proven == BASE + 2
    assert list(replica.waiting().values()) == [fooled.waits]
    assert replica.holds(transaction_hash(fooled.waits))
    assert not (fooled.folder / FILE).exists()


def test_it_is_put_right_once(world, fooled):
    put_right(fooled.folder, world.genesis)
    before = (fooled.folder / "ledger.db").read_bytes()
    put_right(fooled.folder, world.genesis)

    assert (fooled.folder / "ledger.db").read_bytes() == before
    fooled.open()


def test_whoever_dies_while_it_is_put_right_does_it_over(world, fooled, monkeypatch):
    class DiedError(Exception):
        pass

    def die(*_):
        raise DiedError

    for place, name in ((Replica, "finalize"), (Replica, "prove"), (module, "_beside")):
        monkeypatch.setattr(place, name, die)
        with pytest.raises(DiedError):
            put_right(fooled.folder, world.genesis)
        monkeypatch.undo()
    put_right(fooled.folder, world.genesis)
    fooled.open()

    assert fooled.replica.head == world.head
    assert (fooled.replica.base, fooled.replica.proven) == (None, BASE + 2)


def test_it_waits_until_the_ledger_has_the_blocks_that_were_fetched(opened, world, begin):
    newcomer = begin(**FORGED)
    follower = Validators(audited=False)
    grown(follower, BASE + 2)
    node = show(opened, follower)  # it is ahead
    backfill = newcomer.backfill(node)
    newcomer.until(lambda: node.asked.get("/v1/blocks", 0) > 0)
    newcomer.follow(1)
    assert not newcomer.left.wait(0.3)
    newcomer.follow(1)
    assert newcomer.left.wait(PATIENCE_SECONDS)
    backfill.stop()


def test_a_ledger_that_began_with_the_true_header_is_left_alone(opened, world, begin):
    newcomer = begin()
    newcomer.follow(2)
    newcomer.replica.close()
    filled = newcomer.folder / FILE
    with closing(Replica(LedgerStore(filled), world.genesis)) as other:
        for outcome in world.outcomes[:BASE]:
            header = outcome.header
            other.finalize(header.height, header.time, outcome.block.transactions)
            other.commit()
    put_right(newcomer.folder, world.genesis)
    newcomer.open()

    assert newcomer.replica.base is not None
    assert filled.exists()


def test_a_ledger_is_removed_and_nothing_else(tmp_path):
    path = tmp_path / "ledger.db"
    kept = [tmp_path / f"ledger.db{end}" for end in (".before-upgrade", "-lock", "-walrus")]
    for each in (path, tmp_path / "ledger.db-wal", tmp_path / "ledger.db-shm", *kept):
        each.write_bytes(b"")
    remove_ledger(path)

    assert sorted(tmp_path.iterdir()) == sorted(kept)
