"""What is set in CometBFT's ``config.toml``; what is not, keeps CometBFT's own default.

References
----------
CometBFT v0.39, ``config/config.go`` and ``config/toml.go``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["EngineSettings", "StateSync", "config_text"]

MOST_BATCH = 200  # calls in one JSON-RPC request
MOST_BODY_BYTES = 32 * 1024 * 1024  # a full batch of the largest transactions, in base64
GOSSIP_MILLISECONDS = 20  # a vote waits for it at each peer: CometBFT's own 100 cost 0.2 s a block
RATE_BYTES = 32 * 1024 * 1024  # a second, to and from each peer

Value = str | int | bool
Table = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class StateSync:
    """How a node without a history gets a state: from peers, checked by a light client.

    Attributes
    ----------
    rpc_servers
        URLs of at least two nodes' CometBFT that answer for headers.
    trust_height, trust_hash
        A header known from elsewhere; the hash has 32 bytes.
    trust_seconds
        How long validators are trusted after they signed.
    folder
        Where chunks are kept meanwhile; CometBFT removes them.
    discovery_seconds
        How long to look for snapshots, at least 5.
    """

    rpc_servers: tuple[str, ...]
    trust_height: int
    trust_hash: bytes
    trust_seconds: int
    folder: Path
    discovery_seconds: int = 5


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How one node's CometBFT runs; nothing in it has to be the same on every node.

    Attributes
    ----------
    application
        Where the application listens: a path of a Unix socket, or what CometBFT has built in.
    rpc_port, metrics_port
        On 127.0.0.1; without a port for metrics there are none.
    p2p_host, p2p_port
        Where other nodes reach it.
    peers
        ``ID@HOST:PORT`` of the others.
    moniker
        What it is called in logs.
    commit_milliseconds, propose_milliseconds
        How long to wait after a block before the next, and for a proposal.
    heartbeat_milliseconds
        How often there is an empty block when nobody sends anything.
    most_waiting
        Transactions that may wait for a block.
    transaction_bytes
        The largest.
    filter_peers
        Ask the application about every peer.
    state_sync
        Whether and from where to get a state instead of every block.
    log_level, log_format
        What is written to the log.
    """

    application: str
    rpc_port: int
    p2p_port: int
    p2p_host: str = "127.0.0.1"
    peers: tuple[str, ...] = ()
    moniker: str = "node"
    metrics_port: int | None = None
    commit_milliseconds: int = 100
    propose_milliseconds: int = 3000
    heartbeat_milliseconds: int = 5000
    most_waiting: int = 5000
    transaction_bytes: int = 64 * 1024
    filter_peers: bool = False
    state_sync: StateSync | None = None
    log_level: Literal["debug", "info", "error", "none"] = "error"
    log_format: Literal["plain", "json"] = "plain"


def config_text(settings: EngineSettings) -> str:
    """Return the text of ``config.toml``."""
    socket = settings.application.startswith("/")
    top: Table = {
        "proxy_app": f"unix://{settings.application}" if socket else settings.application,
        "abci": "socket",
        "moniker": settings.moniker,
        "db_backend": "goleveldb",
        "log_level": settings.log_level,
        "log_format": settings.log_format,
        "filter_peers": settings.filter_peers,
    }
    tables: dict[str, Table] = {
        "rpc": {
            "laddr": f"tcp://127.0.0.1:{settings.rpc_port}",
            "unsafe": False,
            "max_request_batch_size": MOST_BATCH,
            "max_body_bytes": MOST_BODY_BYTES,
        },
        "p2p": _p2p(settings),
        "mempool": {
            "type": "flood",
            "recheck": True,
            "size": settings.most_waiting,
            # Members share it by number, so there is room for as many of the largest.
            "max_txs_bytes": settings.most_waiting * settings.transaction_bytes,
            "cache_size": 2 * settings.most_waiting,
            "keep-invalid-txs-in-cache": False,  # what is refused today may be valid tomorrow
            "max_tx_bytes": settings.transaction_bytes,
        },
        "consensus": {
            "timeout_commit": f"{settings.commit_milliseconds}ms",
            "peer_gossip_sleep_duration": f"{GOSSIP_MILLISECONDS}ms",
            "timeout_propose": f"{settings.propose_milliseconds}ms",
            "create_empty_blocks": False,
            "create_empty_blocks_interval": f"{settings.heartbeat_milliseconds}ms",
            # Any other number makes a restart fail that comes soon after a vote. What keeps a
            # restarted validator from voting twice is priv_validator_state.json.
            "double_sign_check_height": 0,
        },
        "statesync": _state_sync(settings.state_sync),
        "blocksync": {"adaptive_sync": False},
        "storage": {"discard_abci_responses": False},
        "tx_index": {"indexer": "null"},
        "instrumentation": {
            "prometheus": settings.metrics_port is not None,
            "prometheus_listen_addr": f"127.0.0.1:{settings.metrics_port or 0}",
        },
    }
    parts = [_lines(top), *(f"\n[{name}]\n{_lines(table)}" for name, table in tables.items())]
    return "# Written again at every start: change node.toml instead.\n" + "".join(parts)


def _p2p(settings: EngineSettings) -> Table:
    host = f"[{settings.p2p_host}]" if ":" in settings.p2p_host else settings.p2p_host
    return {
        "laddr": f"tcp://{host}:{settings.p2p_port}",
        "persistent_peers": ",".join(settings.peers),
        "unconditional_peer_ids": ",".join(peer.partition("@")[0] for peer in settings.peers),
        "persistent_peers_max_dial_period": "10s",
        "pex": False,  # whom a node talks to stands in its settings
        "addr_book_strict": False,
        "allow_duplicate_ip": True,
        "send_rate": RATE_BYTES,
        "recv_rate": RATE_BYTES,
    }


def _state_sync(sync: StateSync | None) -> Table:
    if sync is None:
        return {"enable": False}
    return {
        "enable": True,
        "rpc_servers": ",".join(sync.rpc_servers),
        "trust_height": sync.trust_height,
        "trust_hash": sync.trust_hash.hex(),
        "trust_period": f"{sync.trust_seconds}s",
        "discovery_time": f"{sync.discovery_seconds}s",
        "temp_dir": str(sync.folder),
    }


def _lines(table: Table) -> str:
    # A TOML string, integer or boolean is written as in JSON.
    said = ((name, json.dumps(value, ensure_ascii=False)) for name, value in table.items())
    return "".join(f"{name} = {value}\n" for name, value in said)
