"""Encrypted bytes, and envelopes that carry their keys, by libsodium alone.

Bytes are encrypted under a key of their own (XSalsa20-Poly1305, a fresh nonce in front). The key
travels in an envelope: sealed for one member's Ed25519 key in its X25519 form, together with the
digest of the plain bytes, so that an envelope for one thing opens no other. Whoever destroys every
envelope of a key has destroyed the bytes, wherever they lie.

References
----------
Bernstein, Lange, Schwabe, "The security impact of a new cryptographic library", 2012 (NaCl).
"""

from __future__ import annotations

import os

from nacl import bindings
from nacl.exceptions import CryptoError

from tallystick.crypto.hashes import Buffer
from tallystick.crypto.keys import check_public, keypair_of
from tallystick.errors import VerificationError

__all__ = [
    "ENVELOPE_BYTES",
    "OVERHEAD_BYTES",
    "EnvelopeError",
    "decrypt",
    "encrypt",
    "new_key",
    "open_envelope",
    "seal_envelope",
]

KEY_BYTES = bindings.crypto_secretbox_KEYBYTES
NONCE_BYTES = bindings.crypto_secretbox_NONCEBYTES
DIGEST_BYTES = 32
OVERHEAD_BYTES = NONCE_BYTES + bindings.crypto_secretbox_MACBYTES
ENVELOPE_BYTES = DIGEST_BYTES + KEY_BYTES + bindings.crypto_box_SEALBYTES


class EnvelopeError(VerificationError):
    """The envelope is not for this key or this digest, or the bytes are not under this key."""

    slug = "envelope"


def new_key() -> bytes:
    """Return a new key of 32 bytes from the operating system."""
    return os.urandom(KEY_BYTES)


def encrypt(key: bytes, plain: Buffer) -> bytes:
    """Return ``plain`` encrypted, `OVERHEAD_BYTES` longer; never twice the same.

    Notes
    -----
    Holds plain and encrypted bytes in memory, both whole.

    Examples
    --------
    >>> key = new_key()
    >>> decrypt(key, encrypt(key, b"rows"))
    b'rows'
    """
    nonce = os.urandom(NONCE_BYTES)
    return nonce + bindings.crypto_secretbox(bytes(plain), nonce, key)


def decrypt(key: bytes, data: Buffer) -> bytes:
    """Return what `encrypt` was given.

    Raises
    ------
    EnvelopeError
        Another key, or bytes that `encrypt` did not return.
    """
    whole = bytes(data)
    try:
        return bindings.crypto_secretbox_open(whole[NONCE_BYTES:], whole[:NONCE_BYTES], key)
    except (CryptoError, ValueError) as error:
        msg = "the bytes do not open under this key"
        raise EnvelopeError(msg) from error


def seal_envelope(key: bytes, digest: bytes, public: bytes) -> bytes:
    """Return ``key`` sealed for the owner of an Ed25519 key, as the key of ``digest``.

    Raises
    ------
    BadKeyError
        ``public`` is no valid key.
    """
    check_public(public)
    curve = bindings.crypto_sign_ed25519_pk_to_curve25519(public)
    return bindings.crypto_box_seal(digest + key, curve)


def open_envelope(envelope: bytes, digest: bytes, secret: bytes) -> bytes:
    """Return the key of ``digest`` that was sealed for the owner of ``secret``.

    Raises
    ------
    EnvelopeError
        It was sealed for somebody else, for another digest, or not at all.
    """
    pair = keypair_of(secret)
    curve = bindings.crypto_sign_ed25519_sk_to_curve25519(pair)
    try:
        opened = bindings.crypto_box_seal_open(
            envelope, bindings.crypto_scalarmult_base(curve), curve
        )
    except (CryptoError, ValueError) as error:
        msg = "the envelope was not sealed for this key"
        raise EnvelopeError(msg) from error
    if len(opened) != DIGEST_BYTES + KEY_BYTES or opened[:DIGEST_BYTES] != digest:
        msg = "the envelope is for something else"
        raise EnvelopeError(msg)
    return opened[DIGEST_BYTES:]
