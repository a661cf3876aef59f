"""Bytes that can be forgotten: encrypted before they are stored, their keys kept apart.

A vault holds the key of each thing it keeps, in an envelope sealed for its owner, and puts only
encrypted bytes into a blob store, from where they may be copied to anywhere. To forget a thing is
to destroy its envelope. Backups of the vault, and readers who kept a key, are beyond its reach.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tallystick.crypto import envelope as envelopes
from tallystick.crypto.hashes import Buffer, blob_root
from tallystick.crypto.keys import public_of
from tallystick.errors import UnavailableError, VerificationError
from tallystick.storage.blobs import FileBlobs
from tallystick.storage.files import sync_data, sync_folder, translated
from tallystick.tensors.spec import Blobs

__all__ = ["Kept", "Vault", "read_kept"]


@dataclass(frozen=True, slots=True)
class Kept:
    """Something kept: root and size of the plain bytes, and of the encrypted ones."""

    digest: bytes
    size: int
    stored: bytes
    stored_size: int


class Vault:
    """One owner's envelopes, beside a store of encrypted bytes.

    Parameters
    ----------
    folder
        Where the envelopes lie; made at the first.
    blobs
        Where the encrypted bytes go.
    secret
        The owner's Ed25519 key, which the envelopes are sealed for.
    """

    def __init__(self, folder: Path | str, blobs: FileBlobs, secret: bytes) -> None:
        """Open the vault."""
        self._folder = Path(folder)
        self._blobs = blobs
        self._secret = secret

    def keep(self, plain: Buffer) -> Kept:
        """Store ``plain`` encrypted under a new key, and the key in an envelope; both are durable.

        Raises
        ------
        UnavailableError
            The disk is full or failed.
        """
        key, digest = envelopes.new_key(), blob_root(plain)
        stored, stored_size = self._blobs.put(envelopes.encrypt(key, plain))
        kept = Kept(digest, stored_size - envelopes.OVERHEAD_BYTES, stored, stored_size)
        path = self._path(kept)
        with translated(path):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with path.open("xb") as file:
                file.write(envelopes.seal_envelope(key, digest, public_of(self._secret)))
                file.flush()
                sync_data(file.fileno())
            sync_folder(self._folder)
        return kept

    def rotate(self, kept: Kept) -> Kept:
        """Keep the same bytes under a new key, then destroy the old one and its bytes here.

        Raises
        ------
        UnavailableError
            The key or the encrypted bytes are not here, or the disk is full or failed.
        """
        anew = self.keep(read_kept(kept, self.envelope(kept), self._secret, [self._blobs]))
        self.destroy(kept)
        self._blobs.delete(kept.stored)
        return anew

    def envelope(self, kept: Kept, public: bytes | None = None) -> bytes:
        """Return the key in an envelope for the owner of ``public``, by default one's own.

        Raises
        ------
        UnavailableError
            The key is not here, or was destroyed.
        BadKeyError
            ``public`` is no valid key.
        """
        try:
            own = self._path(kept).read_bytes()
        except FileNotFoundError:
            msg = f"the key of {kept.digest.hex()} is not here"
            raise UnavailableError(msg) from None
        if public is None:
            return own
        key = envelopes.open_envelope(own, kept.digest, self._secret)
        return envelopes.seal_envelope(key, kept.digest, public)

    def destroy(self, kept: Kept) -> None:
        """Destroy the key; on return its envelope is overwritten and gone from this disk.

        The encrypted bytes may stay wherever they are: nobody reads them any more.
        """
        path = self._path(kept)
        with translated(path), suppress(FileNotFoundError):
            with path.open("r+b") as file:
                file.write(os.urandom(envelopes.ENVELOPE_BYTES))
                file.flush()
                sync_data(file.fileno())
            path.unlink()
            sync_folder(self._folder)

    def _path(self, kept: Kept) -> Path:
        return self._folder / f"{kept.stored.hex()}.envelope"


def read_kept(kept: Kept, envelope: bytes, secret: bytes, holders: Iterable[Blobs]) -> bytes:
    """Return the plain bytes, from the first holder that serves the right encrypted ones.

    Raises
    ------
    UnavailableError
        No holder did; the hint says what each answered.
    EnvelopeError
        The envelope is not for this secret or digest, or its key is not the bytes' key.
    VerificationError
        What was encrypted is not what the digest names: whoever published it lied.
    """
    key = envelopes.open_envelope(envelope, kept.digest, secret)
    answers: list[str] = []
    for holder in holders:
        try:
            data = holder.open(kept.stored)
        except UnavailableError as error:
            answers.append(str(error))
            continue
        if data.nbytes != kept.stored_size or blob_root(data) != kept.stored:
            answers.append("other bytes")
            continue
        plain = envelopes.decrypt(key, data)
        if blob_root(plain) != kept.digest:
            msg = f"the bytes are not those of {kept.digest.hex()}"
            raise VerificationError(msg)
        return plain
    msg = f"none of {len(answers)} holders has {kept.stored.hex()}"
    raise UnavailableError(msg, hint="; ".join(answers))
