"""A node of a consortium, opened: its ledger behind CometBFT, and everything that serves it."""

from __future__ import annotations

import logging
import os
import signal
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

from tallystick.consensus.client import Signer
from tallystick.consensus.cometbft.application import Application
from tallystick.consensus.cometbft.replica import Replica
from tallystick.consensus.cometbft.rpc import CometRpc
from tallystick.consensus.cometbft.server import Server
from tallystick.consensus.cometbft.snapshots import Snapshots
from tallystick.consensus.witness import Witness
from tallystick.crypto import keys
from tallystick.ledger.contracts import members
from tallystick.node.bell import Bell
from tallystick.node.catching_up import Backfill, find_snapshot
from tallystick.node.engine import write_engine
from tallystick.node.gate import Gate, Limits
from tallystick.node.home import BLOBS, LEDGER, Home, open_folder, open_shelf
from tallystick.node.metrics import Metrics
from tallystick.node.relay import Relay
from tallystick.node.replication import Replicator
from tallystick.node.service import Service
from tallystick.storage.lock import Lock
from tallystick.storage.sqlite import LedgerStore

if TYPE_CHECKING:
    from tallystick.federation.keyring import Keyring
    from tallystick.ledger.kernel import Outcome
    from tallystick.ledger.state import State
    from tallystick.node.engine import Meeting

__all__ = ["open_consortium", "voting_secret"]

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
    settings, genesis, keyring = given.settings, given.genesis, given.keyring
    with ExitStack() as opened:
        opened.enter_context(closing(Lock(folder)))
        store = LedgerStore(folder / LEDGER)
        opened.callback(store.close)
        engine = Replica(store, genesis, most_pending=settings.pending)
        engine.secret = voting_secret(engine.state, keyring)
        reader = LedgerStore(folder / LEDGER)
        opened.callback(reader.close)
        shelf = open_shelf(folder / BLOBS, settings, keyring)
        opened.callback(shelf.close)
        snapshots = Snapshots(
            folder / "snapshots", folder / LEDGER, engine.restore, settings.snapshot_blocks
        )
        opened.callback(snapshots.wait)
        relay = Relay(
            engine,
            reader,
            lambda: CometRpc(meeting.rpc_url),
            member=keyring.name,
            quiet_seconds=QUIET_BEATS * settings.heartbeat_milliseconds / 1000,
            newest_snapshot=lambda: max((each.height for each in snapshots.listed()), default=0),
        )
        opened.callback(relay.stop)
        bell = Bell(relay.height, settings.connections * 3 // 4)
        relay.listen(bell.ring)
        gate = Gate(engine.kernel.chain, Limits(settings.requests_per_second), relay.clock)
        metrics = Metrics(relay)
        authority = Path(settings.authority) if settings.authority else None
        replicator = Replicator(
            shelf,
            settings.nodes,
            lambda: _signer(engine, keyring),
            lambda: engine.state.reader(),  # noqa: PLW0108 - a snapshot is another state
            member=keyring.name,
            metrics=metrics,
            witness=Witness(folder / "evidence"),
            ca=authority,
        )
        opened.callback(replicator.stop)
        relay.listen(replicator.ring)
        service = Service(relay, shelf, gate, bell, metrics, replicator=replicator)
        engine.listen(lambda outcome: _watch_key(engine, keyring, outcome))
        write_engine(
            meeting,
            genesis,
            settings,
            engine.secret,
            keyring.validator[0],
            moniker=keyring.name,
            state_sync=None if engine.head.height else find_snapshot(folder, genesis, settings),
            as_json=as_json,
        )
        replicator.start()
        backfill = Backfill(
            folder, genesis, settings.nodes, lambda: engine.base, engine.fill_in, authority
        )
        opened.callback(backfill.stop)
        backfill.start()
        server = Server(Application(engine, snapshots), meeting.socket)
        opened.callback(server.close)
        return Home(folder, settings, genesis, service, opened.pop_all())


def voting_secret(state: State, keyring: Keyring) -> bytes:
    """Return the secret of the member's newest validator key on the ledger that is at hand.

    Whoever is no member yet will vote with the newest it has.
    """
    row = state.get(members.MEMBERS, keyring.name)
    held = {keys.public_of(secret): secret for secret in keyring.validator}
    for key in reversed(row.keys if row else ()):
        if key.active and key.role == "validator" and key.public in held:
            return held[key.public]
    return keyring.validator[-1]


def _signer(engine: Replica, keyring: Keyring) -> Signer:
    """Return how this node signs what it asks of others: with the key it votes with."""
    row = engine.state.reader().get(members.MEMBERS, keyring.name)
    public = keys.public_of(engine.secret)
    held = [key.public for key in row.keys] if row else []
    index = held.index(public) if public in held else 0
    return Signer(engine.kernel.chain, keyring.name, index, engine.secret)


def _watch_key(engine: Replica, keyring: Keyring, outcome: Outcome) -> None:
    """End this process when the ledger has replaced the key it votes with: it starts anew."""
    if members.MEMBERS.key(keyring.name) not in outcome.changes:
        return
    row = engine.state.get(members.MEMBERS, keyring.name)
    in_use = keys.public_of(engine.secret)
    newest = [key.public for key in (row.keys if row else ()) if key.role == "validator"]
    if newest and newest[-1] != in_use:
        LOG.warning("the validator key was replaced: starting anew with the new one")
        os.kill(os.getpid(), signal.SIGTERM)
