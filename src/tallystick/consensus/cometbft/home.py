"""CometBFT's folder: its configuration, the chain's beginning, and the keys it signs with.

The folder has a private mode, since two of its files hold a secret. All but one are written again
at every start. The exception says what this validator signed last: without it, or with an older
copy, a validator may sign two blocks of one height, so nothing here ever overwrites it.

References
----------
CometBFT v0.39, ``types/genesis.go``, ``privval/file.go``, ``p2p/key.go`` and ``types/block.go``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tallystick.consensus.cometbft.settings import EngineSettings, config_text
from tallystick.crypto import keys
from tallystick.errors import ConfigError
from tallystick.ledger.genesis import Genesis, engine_chain_id, genesis_hash
from tallystick.storage.files import sync_folder, translated

__all__ = ["genesis_document", "most_block_bytes", "node_id", "write_home"]

POWER = 10  # of each founder: one seat, one vote
EVIDENCE_BYTES = 1 << 20
EVIDENCE_BLOCKS = 100_000
EVIDENCE_NANOSECONDS = 48 * 3600 * 10**9
MOST_BLOCK_BYTES = 100 * 1024 * 1024  # CometBFT's own limit
# CometBFT counts header (637), commit (94, and 144 for each validator) and evidence as parts of a
# block, and a transaction with its field's tag and length: 2 of at least 64 bytes, 3 of 128 …
COMMIT_BYTES = 1 << 20  # about 7,000 validators
TAG_SHARE = 32
ADDRESS_BYTES = 20


def node_id(public: bytes) -> str:
    """Return what CometBFT calls the owner of a public key: among peers, and as a validator.

    Examples
    --------
    >>> node_id(bytes(32))
    '66687aadf862bd776c8fc18b8e9f8e2008971485'
    """
    return hashlib.sha256(public).digest()[:ADDRESS_BYTES].hex()


def most_block_bytes(block_bytes: int) -> int:
    """Return the size of block CometBFT has to allow so that ``block_bytes`` of ours always fit.

    Raises
    ------
    ConfigError
        It would be more than CometBFT allows.
    """
    most = block_bytes + block_bytes // TAG_SHARE + EVIDENCE_BYTES + COMMIT_BYTES
    if most > MOST_BLOCK_BYTES:
        msg = f"blocks of {block_bytes} bytes are larger than CometBFT allows"
        raise ConfigError(msg, hint="found the network with a smaller limit, such as 2 MiB")
    return most


def genesis_document(genesis: Genesis) -> dict[str, Any]:
    """Return CometBFT's ``genesis.json`` of a network, the same on every node.

    Raises
    ------
    ConfigError
        The limits or time are beyond what CometBFT allows.
    """
    validators = [
        {
            "address": node_id(public).upper(),
            "pub_key": _public(public),
            "power": str(POWER),
            "name": founder.id,
        }
        for founder in genesis.founders
        if (public := founder.validator) is not None
    ]
    return {
        "genesis_time": _timestamp(genesis.time),
        "chain_id": engine_chain_id(genesis),
        "initial_height": "1",
        "consensus_params": {
            "block": {
                "max_bytes": str(most_block_bytes(genesis.limits.block_bytes)),
                "max_gas": "-1",
            },
            "evidence": {
                "max_age_num_blocks": str(EVIDENCE_BLOCKS),
                "max_age_duration": str(EVIDENCE_NANOSECONDS),
                "max_bytes": str(EVIDENCE_BYTES),
            },
            "validator": {"pub_key_types": ["ed25519"]},
            "version": {"app": "1"},
            "abci": {"vote_extensions_enable_height": "0"},
        },
        "validators": validators,
        "app_hash": "",
        "app_state": {"genesis": genesis_hash(genesis).hex()},
    }


def write_home(
    folder: Path,
    genesis: Genesis,
    settings: EngineSettings,
    validator_secret: bytes,
    node_secret: bytes,
) -> None:
    """Write CometBFT's folder, or bring it up to date.

    Parameters
    ----------
    validator_secret
        Signs votes.
    node_secret
        What other nodes know this one by; the first validator key, which never changes.

    Raises
    ------
    ConfigError
        As `genesis_document`; or there are blocks but nothing says what was signed last.
    UnavailableError
        The disk is full or failed; the same call may be repeated.
    """
    document = genesis_document(genesis)
    config, data = folder / "config", folder / "data"
    with translated(folder):
        for each in (folder, config, data):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
        signed = data / "priv_validator_state.json"
        if not signed.exists():
            if (data / "blockstore.db").exists():
                msg = f"{signed} is missing: this validator could sign two blocks of one height"
                hint = (
                    f"rotate the validator key at another node, then remove {data} and ledger.db*"
                )
                raise ConfigError(msg, hint=hint)
            _write(signed, {"height": "0", "round": 0, "step": 0})
        public = keys.public_of(validator_secret)
        signer = {
            "address": node_id(public).upper(),
            "pub_key": _public(public),
            "priv_key": _private(validator_secret),
        }
        _write(config / "priv_validator_key.json", signer)
        _write(config / "node_key.json", {"priv_key": _private(node_secret)})
        _write(config / "genesis.json", document)
        _write(config / "config.toml", config_text(settings))


def _timestamp(milliseconds: int) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    try:
        day = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError) as error:
        msg = f"a ledger that begins {milliseconds} ms after 1970 is beyond CometBFT's calendar"
        raise ConfigError(msg, hint="found the network with today's time") from error
    return f"{day:%Y-%m-%dT%H:%M:%S}.{rest:03d}Z"


def _public(public: bytes) -> dict[str, str]:
    value = base64.b64encode(public).decode("ascii")
    return {"type": "tendermint/PubKeyEd25519", "value": value}


def _private(secret: bytes) -> dict[str, str]:
    value = base64.b64encode(keys.keypair_of(secret)).decode("ascii")
    return {"type": "tendermint/PrivKeyEd25519", "value": value}


def _write(path: Path, content: dict[str, Any] | str) -> None:
    """Write a file that its owner alone can read; it was never half there."""
    text = content if isinstance(content, str) else json.dumps(content, indent=1) + "\n"
    unfinished = path.with_name(f"{path.name}.new")
    unfinished.unlink(missing_ok=True)
    number = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(number, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    sync_folder(path.parent)
