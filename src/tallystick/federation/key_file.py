"""A member's key file: its secrets on its own disk, where nobody else can read them.

The file is text under a checksum (`armour`) and is never overwritten by another member's. A new
secret is durable before the ledger hears of it: a member never has a key there that it lost here.
"""

from __future__ import annotations

import os
import stat
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import msgspec

from tallystick.codec import Hash, Label, Record, decode, encode
from tallystick.crypto import keys
from tallystick.errors import ConfigError, DecodeError
from tallystick.federation.armour import armour, read_small, unarmour
from tallystick.federation.keyring import Keyring
from tallystick.ledger.genesis import Role
from tallystick.storage.files import open_regular, sync_folder, translated
from tallystick.storage.lock import Lock

__all__ = ["add_secret", "key_path", "load_keyring", "save_keyring"]

KIND = "tally-key-1"
SUFFIX = ".key"
MOST_SECRETS = 256  # of a role; a member has fewer keys than that on the ledger
PRIVATE = 0o600
OTHERS = 0o077
MOST_NAMED = 8
HINT = "name the folder that `tally key new` wrote, or make one with it"

Secrets = Annotated[tuple[Hash, ...], msgspec.Meta(min_length=1, max_length=MOST_SECRETS)]


class KeyFile(Record):
    """What a key file holds."""

    name: Label
    owner: Secrets
    worker: Secrets
    validator: Secrets
    salt: Hash


def key_path(folder: Path, name: str) -> Path:
    """Return where the key file of ``name`` is in a folder."""
    return folder / f"{name}{SUFFIX}"


def save_keyring(folder: Path, keyring: Keyring) -> Path:
    """Write a new key file, durable on return, and return its path.

    Others can read it at no moment: it is made with mode 0600, in a folder made with 0700.

    Raises
    ------
    ConfigError
        There is such a file already; it stays as it is.
    UnavailableError
        The disk is full or failed; no half of a file is left.
    OSError
        The folder cannot be made or written to.
    """
    path = key_path(folder, keyring.name)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        _write_private(path, keyring)
    except FileExistsError:
        msg = f"{path} exists already and is not overwritten"
        raise ConfigError(msg, hint="name another folder with --out") from None
    with translated(folder):
        sync_folder(folder)
        sync_folder(folder.resolve().parent)
    return path


def load_keyring(folder: Path, name: str = "") -> Keyring:
    """Read the key file of a folder: the one for ``name``, or else the only one.

    Raises
    ------
    ConfigError
        There is none or more than one, others can read it, or it cannot be opened.
    DecodeError
        It is damaged or no key file; the message names it.
    """
    path = key_path(folder, name) if name else _only_key(folder)
    with closing(open_regular(path, HINT)) as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if os.name == "posix" and mode & OTHERS:
            msg = f"{path} can be read or changed by others (mode {mode:04o})"
            raise ConfigError(msg, hint=f"chmod 600 {path}, and rotate the keys if others had it")
        data = read_small(file, path)
    try:
        return _parse(data, path.name.removesuffix(SUFFIX))
    except DecodeError as error:
        msg = f"{path}: {error}"
        raise DecodeError(msg, hint=error.hint or "restore the file from a copy") from error


def add_secret(folder: Path, role: Role, name: str = "") -> Keyring:
    """Give a role a new secret and return the keyring; the new one is the last of its role.

    On return the secret survives power loss, so the transaction that names its public key may
    leave. The file is replaced whole: at any moment it holds the old secrets, or old and new.

    Raises
    ------
    ConfigError, DecodeError
        As `load_keyring`; or the file has no room for another.
    UnavailableError
        Another process changes the file, or the disk is full or failed; the old file stays.
    """
    path = key_path(folder, load_keyring(folder, name).name)
    with closing(Lock(path)):
        keyring = load_keyring(folder, path.name.removesuffix(SUFFIX))  # as nobody changes it now
        had = keyring.secrets(role)
        if len(had) >= MOST_SECRETS:
            msg = f"{path} holds {len(had)} {role} keys and has no room for another"
            raise ConfigError(msg, hint="a new member can take this one's place")
        added: dict[str, Any] = {role: (*had, keys.new_secret())}
        changed = replace(keyring, **added)
        temporary = path.with_name(f".{path.name}.new")
        with translated(path):
            temporary.unlink(missing_ok=True)  # what a crash left; nobody was told of it
            _write_private(temporary, changed)
            temporary.replace(path)
            sync_folder(folder)
    return changed


def _only_key(folder: Path) -> Path:
    if not folder.is_dir():
        msg = f"{folder} is no folder"
        raise ConfigError(msg, hint=HINT)
    with translated(folder):
        found = sorted(folder.glob(f"*{SUFFIX}"))
    if len(found) == 1:
        return found[0]
    if found:
        there = ", ".join(path.name for path in found)
        msg = f"{folder} holds several key files: {there}"
        raise ConfigError(msg, hint="keep each member's key in a folder of its own")
    with translated(folder):
        there = ", ".join(sorted(path.name for path in folder.iterdir())[:MOST_NAMED]) or "nothing"
    msg = f"{folder} holds no key file, but {there}"
    raise ConfigError(msg, hint=HINT)


def _parse(data: bytes, name: str) -> Keyring:
    header, body = unarmour(KIND, data)
    found = decode(KeyFile, body)
    if not found.name == header == name:
        msg = f"it is the key file of '{found.name}' under another name"
        raise DecodeError(msg, hint=f"call it {found.name}{SUFFIX}")
    return Keyring(found.name, found.owner, found.worker, found.validator, found.salt)


def _write_private(path: Path, keyring: Keyring) -> None:
    """Write a file that must not be there yet and that its owner alone can read."""
    ring = keyring
    body = encode(KeyFile(ring.name, ring.owner, ring.worker, ring.validator, ring.salt))
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
    number = os.open(path, flags, PRIVATE)
    try:
        with translated(path), os.fdopen(number, "wb") as file:
            file.write(armour(KIND, ring.name, body).encode("ascii"))
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
