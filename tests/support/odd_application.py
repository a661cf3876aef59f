"""Applications that break the rules, for `support.odd_node`: each trick changes one thing."""

import sys

from msgspec import structs

from tallystick.codec import encode
from tallystick.consensus.cometbft import abci_pb2 as abci
from tallystick.consensus.cometbft.application import Application
from tallystick.consensus.cometbft.replica import Replica
from tallystick.consensus.wire import blocks_in, frame
from tallystick.ledger import kernel
from tallystick.node import application, blob_routes, loneliness
from tallystick.node.gate import HttpError
from tallystick.node.relay import Relay
from tallystick.node.replication import Replicator


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


def false_header():
    """Begin with a header whose parent is another one, as a snapshot that a liar made has it."""
    restore_well = Replica.restore

    def restore(self, rows, header):
        restore_well(self, rows, structs.replace(header, parent=bytes(32)))

    Replica.restore = restore


def impatience():
    """Start anew sooner than others when nobody is connected."""
    loneliness.PATIENCE_SECONDS = 4.0


def wrong_bytes():
    """Serve every blob with its first byte changed."""
    count_well = blob_routes._counted

    def count(*arguments):
        for number, piece in enumerate(count_well(*arguments)):
            yield piece if number else bytes([piece[0] ^ 1, *piece[1:]])

    blob_routes._counted = count


def false_blocks():
    """Show blocks without their last transaction."""
    show_well = Relay.framed

    def show(self, start, most):
        blocks = blocks_in(show_well(self, start, most))
        return b"".join(
            frame(encode(structs.replace(block, transactions=block.transactions[:-1])))
            for block in blocks
        )

    Relay.framed = show


def withholding():
    """Keep for one's own organisation what its members upload."""
    find_well = blob_routes._find

    async def find(service, request):
        found = await find_well(service, request)
        visitor = found[2]
        if visitor.is_node or visitor.member != service.replicator.member:
            raise HttpError(404, "no-such-blob", "it is not here", offset=0)
        return found

    blob_routes._find = find
    Replicator._give = lambda *_: None


TRICKS = {
    "invalid-blocks": invalid_blocks,
    "next-protocol": next_protocol,
    "false-header": false_header,
    "impatience": impatience,
    "wrong-bytes": wrong_bytes,
    "false-blocks": false_blocks,
    "withholding": withholding,
}

if __name__ == "__main__":
    TRICKS[sys.argv.pop(1)]()
    sys.exit(application.main())
