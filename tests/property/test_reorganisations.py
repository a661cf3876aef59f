"""Random delays and rates: whatever branches die, every payment is made once, everywhere.

Members pay each other through nodes that disagree for a while. In the end all nodes have one
branch; a replica that executes it from genesis has the same state; every transaction that was taken
is on it once; and money is what it was.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.world import MEMBERS, World

from tallystick.consensus.pow import BrokenFinalityError, ExponentialLaw, Network, Node, RealPuzzles
from tallystick.ledger.contracts import accounts
from tallystick.ledger.kernel import Kernel
from tallystick.ledger.messages import Transfer
from tallystick.ledger.transaction import last_nonce

CONFIRMATIONS = 12
PAYMENTS = 25


def replayed(node):
    """Return the state of a replica that executes the node's branch from genesis."""
    kernel = Kernel(node.genesis)
    state, head = kernel.found()
    for block in node.branch:
        outcome = kernel.apply(state, head, block)
        state.commit(outcome.changes)
        head = outcome.header
        totals = accounts.totals(state)
        assert totals.balances == totals.supply
    return state


def watch(network, seen):
    """See that what a node has called final stays as it was."""
    for node in network.nodes:
        known = seen.setdefault(node.name, [])
        assert [block.header for block in node.blocks(1)][: len(known)] == known
        known[:] = [block.header for block in node.blocks(1)]


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    miners=st.integers(2, 4),
    delay=st.integers(0, 900),
    tries=st.sampled_from((1, 32)),
)
def test_every_payment_is_made_once_whatever_branches_die(seed, miners, delay, tries):
    world, dice = World(), np.random.default_rng(seed)
    nodes = [
        Node(name, world.genesis, confirmations=CONFIRMATIONS, tries=tries)
        for name in MEMBERS[:miners]
    ]
    race = ExponentialLaw(0.3, seed) if tries == 1 else RealPuzzles(0.3)
    network = Network(nodes, race, lambda: int(dice.integers(0, delay + 1)))
    sent, seen, total = {}, {}, dict.fromkeys(MEMBERS, 0)
    for _ in range(PAYMENTS):
        sender, payee = dice.choice(MEMBERS, 2, replace=False).tolist()
        node = nodes[MEMBERS.index(sender) % miners]
        micros = int(dice.integers(1, 1000))
        sent[node.submit(world.sign(sender, Transfer(payee, micros)).wire)] = sender
        total[sender] -= micros
        total[payee] += micros
        for _ in range(int(dice.integers(0, 12))):
            network.advance()
        watch(network, seen)
    network.run(lambda: not any(node.pool for node in nodes))
    network.converge()
    state = replayed(nodes[0])
    branch = [wire for block in nodes[0].branch for wire in block.transactions]

    assert {node.tip for node in nodes} == {nodes[0].tip}
    assert all(dict(node.tip_state.rows()) == dict(state.rows()) for node in nodes)
    assert len(branch) == len(set(branch)) == PAYMENTS
    for name in MEMBERS:
        assert accounts.balance(state, name) == 10_000_000 + total[name]
        assert last_nonce(state, name, 0) == list(sent.values()).count(name)


def test_with_too_few_confirmations_a_network_says_so():
    world, dice = World(), np.random.default_rng(0)
    nodes = [Node(name, world.genesis, confirmations=0) for name in MEMBERS]
    network = Network(nodes, ExponentialLaw(1.0, 0), lambda: int(dice.integers(0, 900)))

    with pytest.raises(BrokenFinalityError):
        network.run(lambda: len(network.mined) > 200)
