"""A node's folder: genesis, settings, where its key is; then the ledger and the tasks' bytes.

No secret is copied into it, so that it can be backed up without one.
"""

from __future__ import annotations

import ipaddress
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tallystick.codec import encode
from tallystick.consensus.solo import Solo, sealing_keys
from tallystick.crypto import keys
from tallystick.crypto.hashes import sha256
from tallystick.errors import ConfigError
from tallystick.federation.armour import write_new
from tallystick.federation.key_file import load_keyring
from tallystick.federation.network_folder import GENESIS, SETTINGS, genesis_line, read_genesis
from tallystick.federation.settings import NodeSettings
from tallystick.node.bell import Bell
from tallystick.node.clerk import Clerk
from tallystick.node.gate import Gate, Limits
from tallystick.node.introducing import introduce
from tallystick.node.metrics import Metrics
from tallystick.node.service import Service
from tallystick.storage.lock import Lock
from tallystick.storage.shelf import Shelf
from tallystick.storage.sqlite import LedgerStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallystick.federation.keyring import Keyring
    from tallystick.ledger.genesis import Genesis

__all__ = [
    "BLOBS",
    "LEDGER",
    "Given",
    "Home",
    "init_home",
    "open_folder",
    "open_home",
    "open_shelf",
]

KEY = "key"  # names the folder with the key file
LEDGER, BLOBS = "ledger.db", "blobs"
OWNER = "member"  # the file with the name of whose node it is
WORDS = "a node's folder is made by `tally node init HOME --genesis FILE --key DIR`"


@dataclass(frozen=True)
class Home:
    """An opened node's folder.

    Attributes
    ----------
    opened
        Closes everything, the clerk first.
    """

    folder: Path
    settings: NodeSettings
    genesis: Genesis
    service: Service
    opened: ExitStack


def init_home(
    folder: Path,
    genesis_file: Path,
    key: Path,
    nodes: Sequence[str] = (),
    authority: Path | None = None,
) -> NodeSettings:
    """Make a node's folder.

    The settings are those that lie beside the genesis for this organisation, as
    ``tally network init`` writes them, or the defaults.

    Parameters
    ----------
    nodes, authority
        Of a consortium that runs already: see `introduce`.

    Raises
    ------
    ConfigError
        The folder is a node's already, the genesis is no file, or the key is none that seals.
    UnavailableError, VerificationError
        As `introduce`.
    """
    genesis = read_genesis(genesis_file)
    keyring = load_keyring(key)
    if genesis.engine == "solo":
        _sealing_secret(genesis, keyring)
    if (folder / GENESIS).exists():
        msg = f"{folder} is a node's folder already"
        raise ConfigError(msg, hint="name another folder, or start it with `tally node start`")
    beside = genesis_file if genesis_file.is_dir() else genesis_file.parent
    planned = beside / keyring.name / SETTINGS
    settings = NodeSettings.load(planned) if planned.exists() else NodeSettings()
    folder.mkdir(parents=True, exist_ok=True)
    if nodes:
        settings = introduce(settings, genesis, nodes, folder, authority)
    if not (folder / SETTINGS).exists():  # a trial's settings lie in the folder itself
        write_new(folder / SETTINGS, settings.to_toml())
    write_new(folder / KEY, f"{key.resolve()}\n")
    write_new(folder / GENESIS, encode(genesis))
    return NodeSettings.load(folder / SETTINGS)


def open_home(folder: Path, *, host: str | None = None, port: int | None = None) -> Home:
    """Open a node's folder and everything in it; the clerk waits to be started.

    Parameters
    ----------
    host, port
        Instead of the settings' own.

    Raises
    ------
    ConfigError
        It is none, or a trial network's that would be served beyond this machine.
    UnavailableError
        Another process runs it.
    """
    given = open_folder(folder, host=host, port=port)
    settings, genesis, keyring = given.settings, given.genesis, given.keyring
    with ExitStack() as opened:
        opened.enter_context(closing(Lock(folder)))
        store = LedgerStore(folder / LEDGER)
        opened.callback(store.close)
        secret = _secret_for(store, genesis, keyring)
        engine = Solo(store, genesis, secret, most_pending=settings.pending)
        reader = LedgerStore(folder / LEDGER)
        opened.callback(reader.close)
        shelf = open_shelf(folder / BLOBS, settings, keyring)
        opened.callback(shelf.close)
        clerk = Clerk(
            engine,
            reader,
            batch_seconds=settings.batch_milliseconds / 1000,
            new_secret=lambda: _new_secret(engine, genesis, folder),
        )
        opened.callback(clerk.stop)
        bell = Bell(engine.head.height, settings.connections * 3 // 4)
        clerk.listen(bell.ring)
        gate = Gate(engine.kernel.chain, Limits(settings.requests_per_second), clerk.clock)
        service = Service(clerk, shelf, gate, bell, Metrics(clerk))
        return Home(folder, settings, genesis, service, opened.pop_all())


@dataclass(frozen=True, slots=True)
class Given:
    """What a node's folder says before anything in it is opened."""

    settings: NodeSettings
    genesis: Genesis
    keyring: Keyring


def open_folder(folder: Path, *, host: str | None = None, port: int | None = None) -> Given:
    """Read settings, genesis and keys of a node's folder; raises `ConfigError` as `open_home`."""
    if not (folder / GENESIS).exists():
        msg = f"{folder} is no node's folder: there is no {GENESIS}"
        raise ConfigError(msg, hint=WORDS)
    settings = NodeSettings.load(folder / SETTINGS)
    settings = replace(
        settings,
        host=settings.host if host is None else host,
        port=settings.port if port is None else port,
        certificate=_inside(folder, settings.certificate),
        certificate_key=_inside(folder, settings.certificate_key),
        authority=_inside(folder, settings.authority),
    )
    genesis = read_genesis(folder / GENESIS)
    _check_trial(genesis, settings.host)
    keyring = load_keyring(_key_folder(folder))
    _check_owner(folder, keyring.name)
    return Given(settings, genesis, keyring)


def _check_owner(folder: Path, name: str) -> None:
    """Refuse another member's keys; whose node it is was written down when it first had some."""
    path = folder / OWNER
    if not path.exists():
        write_new(path, f"{name}\n")
    known = path.read_text(encoding="utf-8", errors="replace").strip()
    if known != name:
        msg = f"{folder} is the node of '{known}', and the keys in it are of '{name}'"
        raise ConfigError(msg, hint=f"put the keys of '{known}' back")


def open_shelf(folder: Path, settings: NodeSettings, keyring: Keyring) -> Shelf:
    """Open where a node keeps its tasks' bytes."""
    storage_key = sha256("blob-storage", keyring.salt) if settings.encrypt else b""
    return Shelf(folder, key=storage_key, quota_bytes=settings.quota_bytes)


def _secret_for(store: LedgerStore, genesis: Genesis, keyring: Keyring) -> bytes:
    """Return the secret that seals now: of the newest state, since keys are replaced."""
    state = Solo(store, genesis).state
    wanted = sealing_keys(state, genesis.sealer)
    return _among(genesis, keyring, wanted)


def _new_secret(engine: Solo, genesis: Genesis, folder: Path) -> bytes:
    """Return the secret that seals now, from the key folder as it is now."""
    wanted = sealing_keys(engine.state, genesis.sealer)
    return _among(genesis, load_keyring(_key_folder(folder)), wanted)


def _sealing_secret(genesis: Genesis, keyring: Keyring) -> bytes:
    founder = next((each for each in genesis.founders if each.id == genesis.sealer), None)
    held = () if founder is None else founder.keys
    validators = [key.public for key in held if key.role == "validator"]
    owners = [key.public for key in held if key.role == "owner"]
    return _among(genesis, keyring, tuple(validators or owners))


def _among(genesis: Genesis, keyring: Keyring, wanted: tuple[bytes, ...]) -> bytes:
    if keyring.name == genesis.sealer:
        for secret in reversed((*keyring.owner, *keyring.validator)):
            if keys.public_of(secret) in wanted:
                return secret
    msg = f"'{genesis.sealer}' orders {genesis_line(genesis)}, and its key is not in this folder"
    hint = f"the node runs at '{genesis.sealer}', with --key naming its key folder"
    raise ConfigError(msg, hint=hint)


def _inside(folder: Path, file: str) -> str:
    """Return a file's path, one that is not absolute from the node's folder on."""
    return str(folder / file) if file else ""


def _key_folder(folder: Path) -> Path:
    try:
        return Path((folder / KEY).read_text(encoding="utf-8").strip())
    except OSError as error:
        msg = f"{folder / KEY}: {error.strerror or error}"
        raise ConfigError(msg, hint="it holds the path of the folder with the key file") from error


def _check_trial(genesis: Genesis, host: str) -> None:
    """Refuse to serve a ledger beyond this machine whose keys anybody can make again."""
    if not genesis.trial:
        return
    try:
        inside = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        inside = False
    if not inside:
        msg = f"{genesis_line(genesis)} is a trial: anybody can make its keys again"
        hint = f"listen on 127.0.0.1 instead of {host}, or found a network from cards"
        raise ConfigError(msg, hint=hint)
