"""A node of a consortium, opened: its ledger behind CometBFT, and everything that serves it."""

from __future__ import annotations

import logging
import shutil
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tallystick.consensus.client import Signer
from tallystick.consensus.cometbft.application import Application
from tallystick.consensus.cometbft.replica import Replica
from tallystick.consensus.cometbft.rpc import CometRpc
from tallystick.consensus.cometbft.server import Server
from tallystick.consensus.cometbft.snapshots import Snapshots
from tallystick.consensus.cometbft.validators import address_of
from tallystick.consensus.witness import Witness
from tallystick.crypto import keys
from tallystick.ledger.contracts import members
from tallystick.node.accusing import Accuser
from tallystick.node.beginning import confirm_header, find_snapshot
from tallystick.node.bell import Bell
from tallystick.node.catching_up import Backfill, put_right, remove_ledger
from tallystick.node.engine import write_engine
from tallystick.node.gate import Gate, Limits
from tallystick.node.home import BLOBS, LEDGER, Given, Home, open_folder, open_shelf
from tallystick.node.loneliness import Loneliness
from tallystick.node.metrics import EngineMetrics, Metrics
from tallystick.node.parent import end_this_process
from tallystick.node.relay import Relay
from tallystick.node.replication import Replicator
from tallystick.node.service import Service
from tallystick.storage.lock import Lock
from tallystick.storage.sqlite import LedgerStore

if TYPE_CHECKING:
    from tallystick.federation.keyring import Keyring
    from tallystick.node.engine import Meeting

__all__ = ["lacking_key", "open_consortium", "voting_secret", "watch_key"]

LOG = logging.getLogger(__name__)
QUIET_BEATS = 4  # heartbeats without a block until something is wrong


def open_consortium(
    folder: Path,
    meeting: Meeting,
    *,
    host: str | None = None,
    port: int | None = None,
    as_json: bool = False,
) -> Home:
    """Open a node's folder as an application of CometBFT, which may be started on return.

    Parameters
    ----------
    meeting
        Where CometBFT and this process meet.
    host, port
        Instead of the settings' own.

    Raises
    ------
    ConfigError
        It is no node's folder, or a trial network's that would be served beyond this machine.
    UnavailableError
        Another process runs it.
    """
    given = open_folder(folder, host=host, port=port)
    with ExitStack() as opened:
        node = _Node(folder, given, meeting, opened)
        node.write_engine(as_json=as_json)
        node.start(opened)
        return Home(folder, given.settings, given.genesis, node.service, opened.pop_all())


class _Node:
    """The parts of a node, each closed with the stack it was opened in."""

    def __init__(self, folder: Path, given: Given, meeting: Meeting, opened: ExitStack) -> None:
        self._folder, self._given, self._meeting = folder, given, meeting
        settings, keyring = given.settings, given.keyring
        self._authority = Path(settings.authority) if settings.authority else None
        opened.enter_context(closing(Lock(folder)))
        put_right(folder, given.genesis)
        _begin_again(folder, meeting)
        store = LedgerStore(folder / LEDGER)
        opened.callback(store.close)
        self.engine = engine = Replica(store, given.genesis, most_pending=settings.pending)
        engine.secret = voting_secret(engine, keyring)
        lacking = lacking_key(engine, keyring)
        if lacking:
            LOG.error("votes are asked of key %s, whose secret is not here", lacking.hex()[:16])
        engine.listen(lambda _: watch_key(engine, keyring, lacking))
        reader = LedgerStore(folder / LEDGER)
        opened.callback(reader.close)
        shelf = open_shelf(folder / BLOBS, settings, keyring)
        opened.callback(shelf.close)
        self._snapshots = Snapshots(
            folder / "snapshots",
            folder / LEDGER,
            engine.restore,
            lambda header: confirm_header(header, given.genesis, settings),
            settings.snapshot_blocks,
        )
        opened.callback(self._snapshots.wait)
        witness = Witness(folder / "evidence")
        self._accuser = Accuser(engine, keyring.name, self._connect, witness)
        self._relay = relay = Relay(
            engine,
            reader,
            self._connect,
            member=keyring.name,
            quiet_seconds=QUIET_BEATS * settings.heartbeat_milliseconds / 1000,
            also=self._facts,
        )
        opened.callback(relay.stop)
        bell = Bell(relay.height, settings.connections * 3 // 4)
        gate = Gate(engine.kernel.chain, Limits(settings.requests_per_second), relay.clock)
        metrics = Metrics(relay)
        metrics.beside = beside = EngineMetrics(meeting.metrics_url)
        opened.callback(beside.close)
        self._replicator = Replicator(
            shelf,
            settings.nodes,
            lambda: _signer(engine, keyring),
            lambda: engine.state.reader(),  # noqa: PLW0108 - a snapshot is another state
            member=keyring.name,
            metrics=metrics,
            witness=witness,
            ca=self._authority,
        )
        opened.callback(self._replicator.stop)
        relay.listen(bell.ring)
        relay.listen(self._replicator.ring)
        self.service = Service(relay, shelf, gate, bell, metrics, replicator=self._replicator)

    def write_engine(self, *, as_json: bool) -> None:
        """Write CometBFT's folder: what it votes with, and where it begins."""
        genesis, settings, keyring = self._given.genesis, self._given.settings, self._given.keyring
        begun = self.engine.head.height
        write_engine(
            self._meeting,
            genesis,
            settings,
            self.engine.secret,
            keyring.validator[0],
            moniker=keyring.name,
            state_sync=None if begun else find_snapshot(self._folder, genesis, settings),
            as_json=as_json,
        )

    def start(self, opened: ExitStack) -> None:
        """Start what works beside requests; CometBFT can connect on return."""
        engine, given = self.engine, self._given
        self._replicator.start()
        backfill = Backfill(
            self._folder,
            given.genesis,
            given.settings.nodes,
            engine,
            self._authority,
        )
        opened.callback(backfill.stop)
        backfill.start()
        opened.callback(self._accuser.stop)
        self._accuser.start(self._hand_in)
        application = Application(
            engine, self._snapshots, self._accuser.accuse, self._accuser.blame
        )
        server = Server(application, self._meeting.socket)
        opened.callback(server.close)
        if given.settings.peers:
            loneliness = Loneliness(self._connect, self._folder / "lonely")
            opened.callback(loneliness.stop)
            loneliness.start()

    def _connect(self) -> CometRpc:
        return CometRpc(self._meeting.rpc_url)

    def _hand_in(self, wire: bytes) -> None:
        self._relay.submit(wire).result()

    def _facts(self) -> dict[str, Any]:
        """Return what a node's status says besides what `Relay.facts` does."""
        listed = self._snapshots.listed()
        settings = self._given.settings
        known_by = address_of(keys.public_of(self._given.keyring.validator[0])).hex()
        return {
            "snapshot": listed[0].height if listed else 0,
            "accused": self._accuser.told(),
            "address": f"{known_by}@{settings.p2p_host}:{settings.p2p_port}",
        }


def _begin_again(folder: Path, meeting: Meeting) -> None:
    """Forget a snapshot after which there is no block: CometBFT may not know that it was taken in.

    It would refuse an application that is ahead of it. Nothing is lost but the time it took.
    """
    path = folder / LEDGER
    if not path.exists():
        return
    with closing(LedgerStore(path)) as store:
        base, head = store.base(), store.head()
    if base is None or head is None or head.height > base.height:
        return
    LOG.warning("beginning with a snapshot again: no block came after the last one")
    remove_ledger(path)
    for each in (meeting.home / "data").glob("*"):
        if each.is_dir():  # never the file that says what was signed last
            shutil.rmtree(each)


def voting_secret(engine: Replica, keyring: Keyring) -> bytes:
    """Return the secret that the member's vote on the block after the head is signed with.

    Whoever has no vote in it will vote with the newest key that the ledger has of it, and whoever
    is no member yet with the newest it has.
    """
    held = {keys.public_of(secret): secret for secret in keyring.validator}
    row = engine.state.reader().get(members.MEMBERS, keyring.name)
    newest = [key.public for key in (row.keys if row else ()) if key.active]
    for public in (engine.voters().get(keyring.name), *reversed(newest)):
        if public in held:
            return held[public]
    return keyring.validator[-1]


def lacking_key(engine: Replica, keyring: Keyring) -> bytes:
    """Return the public key that is to vote on the next block, if its secret is not here.

    Nothing where it is, or where none of this member's is to vote.
    """
    asked = engine.voters().get(keyring.name, b"")
    return asked if asked != keys.public_of(voting_secret(engine, keyring)) else b""


def watch_key(engine: Replica, keyring: Keyring, lacking: bytes = b"") -> None:
    """End this process when another key than the one in use is to vote: it starts anew.

    Not before: until then the votes that count are those of the key that was replaced.

    Parameters
    ----------
    lacking
        As `lacking_key` was when this process began: it is known, and starting anew is no help.
    """
    asked = engine.voters().get(keyring.name)
    if asked not in {None, lacking, keys.public_of(engine.secret)}:
        LOG.warning("the validator key was replaced: starting anew with the new one")
        end_this_process()


def _signer(engine: Replica, keyring: Keyring) -> Signer:
    """Return how this node signs what it asks of others: with the key it votes with."""
    row = engine.state.reader().get(members.MEMBERS, keyring.name)
    public = keys.public_of(engine.secret)
    held = [key.public for key in row.keys] if row else []
    index = held.index(public) if public in held else 0
    return Signer(engine.kernel.chain, keyring.name, index, engine.secret)
