"""A shelf to upload to and read from, and the files it keeps."""

from __future__ import annotations

import numpy as np

from tallystick.crypto.hashes import CHUNK_BYTES, blob_root

__all__ = [
    "DATA",
    "KEY",
    "OTHER_TASK",
    "ROOT",
    "STARTS",
    "TASK",
    "file_of",
    "flip_a_bit",
    "send",
    "whole",
]

TASK, OTHER_TASK = b"t" * 32, b"u" * 32
KEY = bytes(range(32))
DATA = np.random.default_rng(0).bytes(3 * CHUNK_BYTES + 5)
ROOT = blob_root(DATA)
STARTS = range(0, len(DATA), CHUNK_BYTES)


def send(shelf, data=DATA, member="ada", upto=None, task=TASK):
    """Upload from where the shelf says, for as many whole chunks as ``upto`` has."""
    root, progress = blob_root(data), shelf.progress(task, blob_root(data))
    start = progress.offset if progress else 0
    for at in range(start, len(data) if upto is None else upto, CHUNK_BYTES):
        start = shelf.append(task, root, len(data), member, at, data[at : at + CHUNK_BYTES])
    return start


def whole(shelf, data=DATA, task=TASK):
    return b"".join(shelf.read(task, blob_root(data), 0, len(data)))


def file_of(tmp_path, suffix, root=ROOT):
    return tmp_path / "shelf" / TASK.hex() / f"{root.hex()}{suffix}"


def flip_a_bit(path, at=7):
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))
