"""Small files as text that people can mail: a header, base64 lines, and a checksum.

A file is written in one way only, so that any altered byte is noticed; the line ends and the last
newline that mail programs change are not held against it. The checksum finds damage, not lies:
what the bytes claim is for others to check.
"""

from __future__ import annotations

import binascii
import os
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING

from tallystick.crypto.hashes import sha256
from tallystick.errors import ConfigError, DecodeError
from tallystick.storage.files import sync_folder, translated

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

__all__ = ["MOST_BYTES", "armour", "read_small", "unarmour", "write_new"]

MOST_BYTES = 64 * 1024
CHECK_BYTES = 8
COLUMNS = 64


def armour(kind: str, name: str, body: bytes) -> str:
    r"""Return ``body`` as text under the header ``KIND NAME``.

    Examples
    --------
    >>> armour("tally-note-1", "north", b"hello")
    'tally-note-1 north\naGVsbG/N0TYAysiLlQ==\n'
    """
    header = f"{kind} {name}"
    data = b64encode(body + _checksum(header, body)).decode("ascii")
    lines = [data[at : at + COLUMNS] for at in range(0, len(data), COLUMNS)]
    return "\n".join([header, *lines]) + "\n"


def unarmour(kind: str, data: bytes) -> tuple[str, bytes]:
    """Return the name and the body of a text that `armour` made.

    Raises
    ------
    DecodeError
        It is of another kind or version, or damaged.
    """
    try:
        text = data.replace(b"\r\n", b"\n").decode("ascii").rstrip("\n") + "\n"
        header, _, lines = text.partition("\n")
        body = b64decode(lines.replace("\n", ""), validate=True)[:-CHECK_BYTES]
    except (UnicodeDecodeError, binascii.Error) as error:
        msg = f"it is no text that starts with '{kind}', or it is damaged"
        raise DecodeError(msg) from error
    found, _, name = header.partition(" ")
    if found != kind:
        msg = f"it does not start with '{kind}'"
        raise DecodeError(msg, hint="another kind of file, or another release's")
    if armour(kind, name, body) != text:
        msg = "it is damaged: its checksum is another"
        raise DecodeError(msg)
    return name, body


def read_small(file: BinaryIO, path: Path) -> bytes:
    """Return what the open file holds.

    Raises
    ------
    ConfigError
        It holds more than such a file can, or the disk refuses.
    """
    try:
        data = file.read(MOST_BYTES + 1)
    except OSError as error:
        msg = f"{path}: {error.strerror or error}"
        raise ConfigError(msg) from error
    if len(data) > MOST_BYTES:
        msg = f"{path} has more than {MOST_BYTES // 1024} KiB"
        raise ConfigError(msg, hint="name another file")
    return data


def write_new(path: Path, data: str | bytes) -> None:
    """Write a file, durable on return, unless the same is there already.

    Raises
    ------
    ConfigError
        The file holds something else; it is not overwritten.
    UnavailableError
        The disk is full or failed; no half of a file is left.
    OSError
        The file cannot be made.
    """
    wanted = data.encode() if isinstance(data, str) else data
    try:
        file = path.open("xb")
    except FileExistsError:
        if path.is_file() and path.read_bytes() == wanted:
            return
        msg = f"{path} exists already and is not overwritten"
        raise ConfigError(msg, hint="name another place, or move it away") from None
    try:
        with translated(path), file:
            file.write(wanted)
            file.flush()
            os.fsync(file.fileno())
            sync_folder(path.parent)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _checksum(header: str, body: bytes) -> bytes:
    return sha256("armour", header.encode(), body)[:CHECK_BYTES]
