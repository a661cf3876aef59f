"""A network of miners: everybody ends on one branch, and one seed is one history."""

import itertools

import numpy as np
import pytest
from support.world import World

from tallystick.codec import decode
from tallystick.consensus.pow import ExponentialLaw, Network, Node, RealPuzzles, Work
from tallystick.errors import ConfigError, InvariantError
from tallystick.ledger.messages import Transfer

MINERS = ("alpha", "bravo", "charlie")


def network_of(world, seed=0, *, tries=1, rate=0.4, delay=600):
    nodes = [Node(name, world.genesis, confirmations=30, tries=tries) for name in MINERS]
    dice = np.random.default_rng(seed)
    race = ExponentialLaw(rate, seed) if tries == 1 else RealPuzzles(rate)
    return Network(nodes, race, lambda: int(dice.integers(0, delay + 1)))


def history(network):
    """Return what every node knows, as comparable values."""
    return [(node.tip, tuple(node.reorganisations)) for node in network.nodes]


@pytest.mark.parametrize("tries", [1, 64])
def test_forks_happen_and_end(tries):
    network = network_of(World(), tries=tries)
    network.run(lambda: network.nodes[0].tip.height >= 60)
    network.converge()

    assert network.converged
    assert len({node.tip for node in network.nodes}) == 1
    assert sum(len(node.reorganisations) for node in network.nodes) > 3
    assert len(network.mined) > network.nodes[0].tip.height
    assert network.nodes[0].tip.time <= network.time


@pytest.mark.parametrize("tries", [1, 64])
def test_one_seed_is_one_history(tries):
    found = []
    for seed in (1, 1, 2):
        network = network_of(World(), seed, tries=tries)
        network.run(lambda network=network: len(network.mined) >= 40)
        found.append(history(network))

    assert found[0] == found[1] != found[2]


def test_without_delay_nothing_is_mined_for_nothing():
    network = network_of(World(), delay=0)
    network.run(lambda: len(network.mined) >= 40)
    network.converge()

    assert len(network.mined) == network.nodes[0].tip.height


@pytest.mark.parametrize("tries", [1, 64])
def test_what_is_handed_in_at_one_node_is_mined_by_any(tries):
    world = World()
    network = network_of(world, tries=tries, delay=200)
    sent = []
    for at in range(30):
        node = network.nodes[at % len(MINERS)]
        sender = MINERS[at % len(MINERS)]
        sent.append(node.submit(world.sign(sender, Transfer("delta", 1)).wire))
        for _ in range(12):
            network.advance()
    network.run(lambda: not any(node.pool for node in network.nodes))
    network.converge()
    branch = network.nodes[0].branch
    included = [wire for block in branch for wire in block.transactions]

    assert len(included) == len(set(included)) == len(sent)
    assert len({decode(Work, block.evidence).miner for block in branch if block.transactions}) > 1


def test_messages_of_one_link_keep_their_order():
    world = World()
    delays = itertools.cycle((900, 5, 400, 1))
    nodes = [Node(name, world.genesis, confirmations=30) for name in MINERS]
    network = Network(nodes, ExponentialLaw(0.001, 0), lambda: next(delays))
    wires = [world.sign("alpha", Transfer("delta", 1)).wire for _ in range(6)]
    for wire in wires:
        nodes[0].submit(wire)
    network.run(lambda: len(nodes[1].pool) == len(nodes[2].pool) == len(wires))

    assert [tx.wire for tx in nodes[1].pool] == wires
    assert [tx.wire for tx in nodes[2].pool] == wires


@pytest.mark.parametrize("tries", [1, 256])
def test_blocks_come_at_the_rate_asked_for(tries):
    network = network_of(World(), tries=tries, rate=0.5, delay=0)
    network.run(lambda: len(network.mined) >= 600)

    # Three miners at half a block a second: one and a half a second, give or take 4 deviations.
    assert 600 / 1.5 * (1 - 4 / 600**0.5) < network.now / 1000 < 600 / 1.5 * (1 + 4 / 600**0.5)


@pytest.mark.parametrize("rate", [0, -1.0, float("inf"), float("nan")])
def test_a_rate_that_makes_no_sense_is_named(rate):
    with pytest.raises(ConfigError):
        ExponentialLaw(rate, 0)
    with pytest.raises(ConfigError):
        RealPuzzles(rate)


def test_waiting_for_what_never_happens_is_a_bug(monkeypatch):
    network = network_of(World())
    monkeypatch.setattr("tallystick.consensus.pow.network.MOST_EVENTS", 10)

    with pytest.raises(InvariantError):
        network.run(lambda: False)
