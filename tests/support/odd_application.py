"""Applications that break the rules, for `support.odd_node`: each trick changes one thing."""

import sys

from tallystick.consensus.cometbft import abci_pb2 as abci
from tallystick.consensus.cometbft.application import Application
from tallystick.ledger import kernel
from tallystick.node import application, loneliness


def invalid_blocks():
    """Propose in turn what waits in the wrong order or twice, and what nobody signed."""
    propose_well = Application._prepare_proposal

    def propose(self, asked):
        chosen = list(propose_well(self, asked).txs)
        if asked.height % 2 and chosen:
            wrong = chosen[::-1] if len(chosen) > 1 else chosen * 2
        else:
            forged = [bytes([*wire[:-1], wire[-1] ^ 1]) for wire in chosen[:1]] or [b"nothing"]
            wrong = [*chosen[1:], *forged]
        return abci.PrepareProposalResponse(txs=wrong)

    Application._prepare_proposal = propose


def next_protocol():
    """Know the protocol's next version, which is the same in all but its number."""
    kernel.KNOWN |= {2}


def impatience():
    """Start anew sooner than others when nobody is connected."""
    loneliness.PATIENCE_SECONDS = 4.0


TRICKS = {
    "invalid-blocks": invalid_blocks,
    "next-protocol": next_protocol,
    "impatience": impatience,
}

if __name__ == "__main__":
    TRICKS[sys.argv.pop(1)]()
    sys.exit(application.main())
