"""CometBFT as an application sees it: frames over its socket, in the order CometBFT's grammar has.

A `FakeComet` keeps what one CometBFT keeps on disk (blocks, results, how far its state is) and
restarts from that: it asks what the application has, founds it at height 0, and replays what it
lacks. Its frames are made here, not by the code under test.
"""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from dataclasses import dataclass, field

from tallystick.consensus.cometbft import abci_pb2 as abci
from tallystick.consensus.cometbft.validators import founding_validators
from tallystick.ledger.genesis import engine_chain_id, genesis_hash

__all__ = [
    "ABORT",
    "ACCEPT",
    "POINTS",
    "REJECT",
    "REJECT_FORMAT",
    "REJECT_OFFER",
    "REJECT_SNAPSHOT",
    "RETRY",
    "Connection",
    "CrashError",
    "Decision",
    "FailedError",
    "FakeComet",
    "framed",
    "moment",
]

ACCEPT, REJECT, RECHECK = 1, 2, 1
# How snapshots and their chunks are answered.
ABORT, REJECT_OFFER, RETRY, REJECT_FORMAT, REJECT_SNAPSHOT = 2, 3, 3, 4, 5
PATIENCE_SECONDS = 30
ORDER = ("query", "snapshot", "mempool", "consensus")
MOST_TX_BYTES = 4 << 20
# Where both processes may end: see `FakeComet.crash_at`.
POINTS = ("prepared", "processed", "finalized", "writing", "committed", "saved")


class FailedError(Exception):
    """The application answered with an exception, something else, or not at all."""


class CrashError(Exception):
    """CometBFT and the application ended here, as the test wanted."""


@dataclass(frozen=True)
class Decision:
    """A block that validators decided; ``time`` in milliseconds."""

    height: int
    time: int
    txs: tuple[bytes, ...] = ()
    proposer: bytes = b""
    misbehavior: tuple = field(default=())

    def request(self):
        return abci.BlockRequest(
            txs=self.txs,
            height=self.height,
            time=moment(self.time),
            hash=self.height.to_bytes(32, "big"),
            proposer_address=self.proposer,
            misbehavior=self.misbehavior,
        )


def moment(milliseconds):
    return abci.Moment(seconds=milliseconds // 1000, nanos=milliseconds % 1000 * 10**6)


class Connection:
    """One of the connections CometBFT opens."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(PATIENCE_SECONDS)
        try:
            self.socket.connect(str(path))
        except OSError:
            self.socket.close()
            raise
        self.answers = self.socket.makefile("rb")

    def close(self):
        with suppress(OSError):
            self.answers.close()
        self.socket.close()

    def ask(self, kind, message=None):
        return self.ask_all(kind, [message])[0]

    def ask_all(self, kind, messages):
        """Send all of them and a flush, then read as many answers."""
        asked = b"".join(self.frame(kind, message) for message in messages)
        self.socket.sendall(asked + self.frame("flush"))
        told = [self.read_bytes() for _ in range(len(messages) + 1)]
        opened(told.pop(), "flush")
        return [opened(each, kind) for each in told]

    def frame(self, kind, message=None):
        request = abci.Request()
        getattr(request, kind).SetInParent()
        if message is not None:
            getattr(request, kind).CopyFrom(message)
        return framed(request.SerializeToString())

    def read(self, kind):
        return opened(self.read_bytes(), kind)

    def read_bytes(self):
        size = shift = 0
        while True:
            byte = self.answers.read(1)
            if not byte:
                raise FailedError("the application hung up")
            size |= (byte[0] & 0x7F) << shift
            shift += 7
            if byte[0] < 0x80:
                return self.answers.read(size)


def opened(data, kind):
    """Return the answer in a frame, which is to be of a kind."""
    response = abci.Response.FromString(data)
    found = response.WhichOneof("value")
    if found != kind:
        raise FailedError(f"asked for {kind}, told {found}: {response.exception.error}")
    return getattr(response, kind)


def framed(data):
    """Return the data behind its length."""
    size, head = len(data), bytearray()
    while size >= 0x80:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes((*head, size)) + data


class FakeComet:
    """One CometBFT and its application, which live and die together.

    ``crash_at`` names one of `POINTS`; both end when they get there, with a `CrashError`.
    """

    def __init__(self, app):
        self.app = app
        self.genesis = app.genesis
        self.blocks = {}  # by height, as saved before they are executed
        self.results = {}  # the answers to FinalizeBlock, as saved before the commit
        self.base = 0  # the height a snapshot was of
        self.state_height = 0  # up to which the state is saved
        self.hashes = {}  # the application's hash after a height
        self.power = {each.public: each.power for each in founding_validators(self.genesis)}
        self.mempool = {}
        self.calls = []
        self.crash_at = ""
        self.connections = {}

    # --- life and death -------------------------------------------------------------------------

    @property
    def top(self):
        return max(self.blocks, default=self.base)

    def start(self, *, handshake=True):
        self.app.start()
        self.connections = {name: Connection(self.app.socket) for name in ORDER}
        self.mempool = {}  # it is not kept
        if handshake:
            self.shake_hands()
        return self

    def stop(self):
        for each in self.connections.values():
            each.close()
        if self.app.is_running:
            self.app.stop()

    def kill(self):
        self.app.copy_disk()
        self._die()

    def _die(self):
        for each in self.connections.values():
            each.close()
        self.app.die()

    def _reach(self, point):
        if self.crash_at != point:
            return
        self.crash_at = ""
        if point != "writing":
            self.app.copy_disk()
        self._die()
        raise CrashError(point)

    def ask(self, name, kind, message=None):
        self.calls.append(kind)
        return self.connections[name].ask(kind, message)

    def shake_hands(self):
        """Do what CometBFT does at every start, and check what it checks."""
        told = self.info()
        at, app_hash = told.last_block_height, told.last_block_app_hash
        if at == 0:
            app_hash = self._found()
        if at > self.top:
            raise FailedError(f"the application has block {at}, CometBFT has {self.top}")
        assert at >= self.base
        for height in range(at + 1, self.state_height + 1):
            assert app_hash == self.hashes[height - 1]
            app_hash = self._finalize(height).app_hash
            self.ask("consensus", "commit")
        if self.state_height < self.top:
            if at < self.top:
                self._execute(self.top)
            else:  # it wrote the block, and CometBFT did not hear of it: the saved answer counts
                self._save(self.top, self.results[self.top])
            app_hash = self.hashes[self.top]
        assert app_hash == self.hashes[self.top]
        if at == self.top and at:
            assert told.last_block_app_hash == self.hashes[at]

    def info(self):
        asked = abci.InfoRequest(
            version="0.39.4", block_version=11, p2p_version=8, abci_version="2.0.0"
        )
        return self.ask("query", "info", asked)

    def _found(self):
        state = {"genesis": genesis_hash(self.genesis).hex()}
        asked = abci.InitChainRequest(
            time=moment(self.genesis.time),
            chain_id=engine_chain_id(self.genesis),
            app_state_bytes=json.dumps(state).encode(),
            initial_height=1,
        )
        for each in founding_validators(self.genesis):
            asked.validators.add(pub_key=abci.PublicKey(ed25519=each.public), power=each.power)
        told = self.ask("consensus", "init_chain", asked)
        assert told.app_hash
        assert not told.validators
        return self.hashes.setdefault(0, told.app_hash)

    # --- the mempool ----------------------------------------------------------------------------

    def check(self, *wires):
        """Offer new transactions; return the codes, 0 for what is in the mempool now."""
        asked = [abci.CheckTxRequest(tx=wire) for wire in wires]
        self.calls += ["check_tx"] * len(wires)
        told = self.connections["mempool"].ask_all("check_tx", asked)
        self.mempool.update(
            (wire, None) for wire, each in zip(wires, told, strict=True) if not each.code
        )
        return [each.code for each in told]

    def recheck(self):
        """Ask again about everything, as after each block; return what is left out now."""
        waiting = list(self.mempool)
        asked = [abci.CheckTxRequest(tx=wire, type=RECHECK) for wire in waiting]
        told = self.connections["mempool"].ask_all("check_tx", asked)
        gone = {wire: each.code for wire, each in zip(waiting, told, strict=True) if each.code}
        for wire in gone:
            del self.mempool[wire]
        return gone

    # --- a height -------------------------------------------------------------------------------

    def prepare(self, time, wires=None, proposer=b""):
        """Return the block that this validator proposes next, by default of its mempool."""
        asked = abci.PrepareProposalRequest(
            max_tx_bytes=MOST_TX_BYTES,
            txs=list(self.mempool) if wires is None else wires,
            height=self.top + 1,
            time=moment(time),
            proposer_address=proposer,
        )
        told = self.ask("consensus", "prepare_proposal", asked)
        assert sum(map(len, told.txs)) <= MOST_TX_BYTES
        self._reach("prepared")
        return Decision(self.top + 1, time, tuple(told.txs), proposer)

    def process(self, block):
        """Return whether this validator would vote for a block."""
        status = self.ask("consensus", "process_proposal", block.request()).status
        assert status in {ACCEPT, REJECT}  # anything else ends CometBFT
        self._reach("processed")
        return status == ACCEPT

    def apply(self, block):
        """Save, execute and commit what was decided, and look at the mempool again."""
        assert block.height == self.top + 1
        self.blocks[block.height] = block
        if self.crash_at == "writing":
            self.app.copy_disk_while_writing()
        self._execute(block.height)
        for wire in block.txs:
            self.mempool.pop(wire, None)
        self.recheck()

    def _execute(self, height):
        told = self._finalize(height)
        self.results[height] = told
        self._reach("finalized")
        self.ask("consensus", "commit")
        self._reach("writing")
        self._reach("committed")
        self._save(height, told)
        self._reach("saved")

    def _finalize(self, height):
        block = self.blocks[height]
        told = self.ask("consensus", "finalize_block", block.request())
        assert len(told.tx_results) == len(block.txs)
        return told

    def _save(self, height, told):
        """Keep the state after a block, with the validators as CometBFT checks their updates."""
        seen = set()
        for each in told.validator_updates:
            public = each.pub_key.ed25519
            assert public not in seen
            assert each.power or public in self.power
            seen.add(public)
            self.power[public] = each.power
            if not each.power:
                del self.power[public]
        assert self.power
        self.hashes[height], self.state_height = told.app_hash, height

    # --- beginning with a snapshot --------------------------------------------------------------

    def begin_with(self, snapshot, sources, app_hash, power):
        """Take in a snapshot whose chunks named sources give; return the last verdict.

        ``app_hash`` is what the light client verified for its height, ``power`` the validators.
        """
        offer = abci.OfferSnapshotRequest(snapshot=snapshot, app_hash=app_hash)
        verdict = self.ask("snapshot", "offer_snapshot", offer).result
        if verdict != ACCEPT:
            return verdict
        left, sources = list(range(snapshot.chunks)), dict(sources)
        while left and sources:
            index, name = left[0], next(iter(sources))
            asked = abci.ApplySnapshotChunkRequest(
                index=index, chunk=sources[name](index), sender=name
            )
            told = self.ask("snapshot", "apply_snapshot_chunk", asked)
            for sender in told.reject_senders:
                sources.pop(sender, None)
            if told.result == RETRY:
                assert list(told.refetch_chunks) == [index]
                continue
            if told.result != ACCEPT:
                return told.result
            left.pop(0)
        if left:
            return RETRY
        info = self.info()
        assert (info.last_block_height, info.last_block_app_hash) == (snapshot.height, app_hash)
        self.base = self.state_height = snapshot.height
        self.hashes[self.base], self.power = app_hash, dict(power)
        return ACCEPT

    def snapshots(self):
        """Return what this node offers to others."""
        return list(self.ask("snapshot", "list_snapshots").snapshots)

    def chunk_of(self, snapshot):
        """Return how this node gives a chunk of a snapshot."""

        def load(index):
            asked = abci.LoadSnapshotChunkRequest(
                height=snapshot.height, format=snapshot.format, chunk=index
            )
            return self.ask("snapshot", "load_snapshot_chunk", asked).chunk

        return load
