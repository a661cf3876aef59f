"""A ledger driven by hand, and fake CometBFTs whose applications are to follow it."""

import logging
import threading
from contextlib import ExitStack, closing

import pytest
from support.fake_network import Network, start_comet
from support.snapshots import follow
from support.validators import Validators
from support.world import digest

from tallystick.consensus.cometbft import snapshots
from tallystick.consensus.cometbft.replica import Replica
from tallystick.ledger.messages import RegisterDataset, Transfer
from tallystick.storage.sqlite import LedgerStore


@pytest.fixture
def world():
    """Return the kernel alone, whose blocks say what is right."""
    return Validators(audited=False)


@pytest.fixture
def opened():
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def make_comet(world, tmp_path, opened):
    """Return a maker of fake CometBFTs, each with an application of its own."""
    made = []

    def make(**options):
        made.append(start_comet(tmp_path / f"c{len(made)}", world.genesis, **options))
        opened.callback(made[-1].stop)
        return made[-1]

    return make


@pytest.fixture
def comet(make_comet):
    return make_comet()


@pytest.fixture
def make_network(world, tmp_path, opened):
    def make(count=4, **options):
        return opened.enter_context(closing(Network(tmp_path, world.genesis, count, **options)))

    return make


@pytest.fixture
def pay(world):
    """Return a maker of transactions that succeed, each of other bytes."""
    amounts = iter(range(1, 10_000))
    return lambda member="bravo", **envelope: world.send(
        member, Transfer("alpha" if member != "alpha" else "bravo", next(amounts)), **envelope
    )


@pytest.fixture
def clock():
    """Return a clock that a test moves: one number, in milliseconds."""
    return [0]


@pytest.fixture
def make_replica(world, tmp_path, clock, opened):
    """Return a maker of replicas of one file, or of other files by their name."""

    def make(name="ledger.sqlite", **options):
        made = Replica(
            LedgerStore(tmp_path / name), world.genesis, clock=lambda: clock[0], **options
        )
        opened.callback(made.close)
        return made

    return make


@pytest.fixture
def replica(make_replica):
    return make_replica()


@pytest.fixture
def decide(world):
    """Return what lets replicas decide and write the block that the kernel alone makes."""

    def act(*replicas, dt=1000):
        outcome = world.seal(dt)
        for each in replicas:
            wires = outcome.block.transactions
            assert each.refusal(outcome.header.height, outcome.header.time, wires) == ""
            each.finalize(outcome.header.height, outcome.header.time, wires)
            each.commit()
            assert each.head == outcome.header
        return outcome

    return act


# --- snapshots ------------------------------------------------------------------------------------


@pytest.fixture
def quiet(caplog):
    caplog.set_level(logging.CRITICAL)


@pytest.fixture
def small(monkeypatch):
    """Cut snapshots into many chunks."""
    monkeypatch.setattr(snapshots, "CHUNK_BYTES", 300)


@pytest.fixture
def grow(world, pay):
    """Return what lets CometBFTs decide so many blocks with something in them."""

    def act(count, *comets):
        for _ in range(count):
            pay()
            world.send("charlie", RegisterDataset(digest(world.head.height), 5))
            follow(world.seal(), *comets)

    return act


@pytest.fixture
def newcomer(make_comet):
    """Return a CometBFT that begins with a snapshot, so that it founds nothing first."""
    comet = make_comet(every=2)
    comet.stop()
    return comet.start(handshake=False)


@pytest.fixture
def slow(monkeypatch):
    """Hold up whoever reads rows for a snapshot until the event returned is set."""
    may, rows = threading.Event(), LedgerStore.sorted_rows

    def wait(store):
        may.wait(30)
        yield from rows(store)

    monkeypatch.setattr(LedgerStore, "sorted_rows", wait)
    yield may
    may.set()
