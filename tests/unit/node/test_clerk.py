"""The clerk seals what it took, also what one block has no room for."""

import time

import pytest

from tallystick.consensus.solo import Solo
from tallystick.federation.trial import secret_of, simulated_genesis
from tallystick.ledger.genesis import Limits
from tallystick.ledger.messages import Grant, ProposeChange
from tallystick.ledger.transaction import Body, sign_transaction
from tallystick.node.clerk import Clerk
from tallystick.storage.sqlite import LedgerStore

LIMITS = Limits(block_bytes=1024, transaction_bytes=1024)


@pytest.fixture
def clerk(tmp_path):
    """A clerk whose blocks hold a few transactions each."""
    genesis = simulated_genesis("small", ("a", "b", "c"), 0, LIMITS)
    store, reader = (LedgerStore(tmp_path / "ledger.db") for _ in range(2))
    clerk = Clerk(Solo(store, genesis, secret_of(0, "a", "validator")), reader)
    clerk.start()
    yield clerk
    clerk.stop()
    store.close()
    reader.close()


def test_what_exceeds_a_block_comes_into_the_next_ones_without_a_further_transaction(clerk):
    chain = clerk.engine.kernel.chain
    asked = []
    for nonce in range(1, 21):
        message = ProposeChange(Grant("c", nonce))
        body = Body("b", 0, nonce, clerk.now + 3_600_000, message)
        asked.append(clerk.submit(sign_transaction(body, secret_of(0, "b", "owner"), chain).wire))
    hashes = [each.result(5)[0] for each in asked]
    until = time.monotonic() + 5
    while clerk.engine.pending and time.monotonic() < until:
        time.sleep(0.02)

    assert clerk.engine.pending == 0
    assert clerk.engine.head.height > 1
    assert all(clerk.outcome(each).code == 0 for each in hashes)
