"""A member that sends thousands of transactions a second: it waits for itself, not the others."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack, closing
from statistics import median

import pytest
from support.consortia import NAMES, Payer, environment, heights, ledgers, until
from support.double_votes import comet, comet_url

from tallystick.lab.consortium import Consortium
from tallystick.ledger.transaction import parse_transaction

pytestmark = pytest.mark.network

FLOODER, OTHERS = NAMES[0], NAMES[1:]
SECONDS, PENDING = 12, 80
SHARE = PENDING // len(NAMES)


def test_a_member_that_floods_waits_for_itself_and_holds_up_nobody(tmp_path):
    with Consortium(tmp_path, NAMES, 8, pending=PENDING) as consortium:
        payers = [Payer(consortium, name, FLOODER, pause=0.3) for name in OTHERS]
        with ExitStack() as paying, closing(comet(consortium, "south")) as rpc:
            for payer in payers:
                paying.enter_context(payer)
            politely, most = _flood(consortium, rpc, *map(consortium.url, NAMES))
            rudely, more = _flood(consortium, rpc, comet_url(consortium, FLOODER) + "/")
        until(lambda: len(set(heights(consortium).values())) == 1, what="one height")
        blocks = ledgers(consortium)["north"]

    sent = Counter(
        parse_transaction(wire, consortium.genesis.limits).body.sender
        for block in blocks
        for wire in block.transactions
    )
    assert politely["503"] > SHARE  # retry later
    assert rudely["taken"] > 100 * SHARE  # CometBFT takes and forgets what is beyond the share
    assert max(most, more) <= SHARE + len(OTHERS)
    assert sent[FLOODER] > SHARE
    for payer in payers:
        assert len(payer.waited) > 4
        assert median(payer.waited) < 5


def _flood(consortium, rpc, *urls):
    """Let a member flood addresses; return what it was answered, and how many waited at most."""
    genesis = consortium.folder / "network" / "genesis.bin"
    command = (sys.executable, "-m", "support.flood", consortium.home(FLOODER), genesis)
    flood = subprocess.Popen(
        [*map(str, command), str(SECONDS), *urls],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    most = 0
    while flood.poll() is None:
        most = max(most, int(rpc.call("num_unconfirmed_txs")["n_txs"]))
        time.sleep(0.2)
    return json.loads(flood.communicate()[0]), most
