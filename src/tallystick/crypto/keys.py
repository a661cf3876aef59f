"""Ed25519 keys and signatures under a domain, by libsodium alone.

What is signed is "tallystick/", the domain, a zero byte and the message, so a signature made for
one purpose serves no other. libsodium refuses a non-canonical S and keys of small order; other
libraries accept some of them, so validators verify with this one, and a key is checked with
`check_public` before it is admitted anywhere.

References
----------
Josefsson, Liusvaara, RFC 8032, 2017.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from functools import lru_cache
from typing import ClassVar

from nacl import bindings
from nacl.exceptions import BadSignatureError as SodiumBadSignatureError
from nacl.exceptions import RuntimeError as SodiumRuntimeError
from nacl.exceptions import ValueError as SodiumValueError

from tallystick.errors import VerificationError

__all__ = [
    "PUBLIC_BYTES",
    "SECRET_BYTES",
    "SIGNATURE_BYTES",
    "BadKeyError",
    "BadSignatureError",
    "check_public",
    "is_valid",
    "is_valid_cofactored",
    "keypair_of",
    "new_secret",
    "public_of",
    "secret_from_seed",
    "sign",
    "unsafe_sign_raw",
    "verify",
    "verify_raw",
]

SECRET_BYTES = 32
PUBLIC_BYTES = 32
SIGNATURE_BYTES = 64
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493
NEUTRAL = bytes([1]) + bytes(31)


class BadSignatureError(VerificationError):
    """The signature was not made by this key over these bytes in this domain."""

    slug: ClassVar[str] = "bad-signature"


class BadKeyError(VerificationError):
    """The bytes are no public key that every verifier treats alike."""

    slug: ClassVar[str] = "bad-key"


def new_secret() -> bytes:
    """Return a new secret key of 32 bytes from the operating system."""
    return os.urandom(SECRET_BYTES)


def secret_from_seed(seed: bytes) -> bytes:
    """Return the secret key that a simulation derives from ``seed``, of any length.

    Whoever knows the seed has the key: never for a real organisation.
    """
    return hashlib.sha256(b"tallystick/secret-from-seed\0" + seed).digest()


def public_of(secret: bytes) -> bytes:
    """Return the public key, 32 bytes, of a secret key of 32 bytes.

    Raises
    ------
    BadKeyError
        ``secret`` is not 32 bytes long.
    """
    return keypair_of(secret)[SECRET_BYTES:]


@lru_cache(maxsize=1024)
def keypair_of(secret: bytes) -> bytes:
    """Return secret || public, 64 bytes: what libsodium signs with, as costly as signing once.

    Raises
    ------
    BadKeyError
        ``secret`` is not 32 bytes long.
    """
    if len(secret) != SECRET_BYTES:
        msg = f"a secret key has {SECRET_BYTES} bytes, not {len(secret)}"
        raise BadKeyError(msg)
    return bindings.crypto_sign_seed_keypair(secret)[1]


def check_public(public: bytes) -> None:
    """Check that ``public`` is a canonical point of the prime-order group.

    Raises
    ------
    BadKeyError
        It is not, so libraries would disagree about its signatures.
    """
    if len(public) != PUBLIC_BYTES or not bindings.crypto_core_ed25519_is_valid_point(public):
        msg = "the public key is not a valid Ed25519 point"
        raise BadKeyError(msg)


def sign(secret: bytes, domain: bytes, message: bytes) -> bytes:
    """Return the signature, 64 bytes, of ``message`` in ``domain``.

    Raises
    ------
    BadKeyError
        ``secret`` is not 32 bytes long.
    """
    return unsafe_sign_raw(secret, _prefix(domain) + message)


def verify(public: bytes, domain: bytes, message: bytes, signature: bytes) -> None:
    """Check that the owner of ``public`` signed ``message`` in ``domain``.

    Raises
    ------
    BadSignatureError
        The signature does not verify, whatever the reason.
    """
    verify_raw(public, _prefix(domain) + message, signature)


def is_valid(public: bytes, domain: bytes, message: bytes, signature: bytes) -> bool:
    """Return whether `verify` accepts."""
    try:
        verify(public, domain, message, signature)
    except BadSignatureError:
        return False
    return True


def verify_raw(public: bytes, data: bytes, signature: bytes) -> None:
    """Check a signature over exactly ``data``, as formats not ours make them.

    Raises
    ------
    BadSignatureError
        The signature does not verify, whatever the reason.
    """
    if len(signature) == SIGNATURE_BYTES and len(public) == PUBLIC_BYTES:
        try:
            bindings.crypto_sign_open(signature + data, public)
        except SodiumBadSignatureError:
            pass
        else:
            return
    msg = "the signature does not verify"
    raise BadSignatureError(msg)


def is_valid_cofactored(public: bytes, data: bytes, signature: bytes) -> bool:
    """Return whether a signature over exactly ``data`` holds by the rule that CometBFT goes by.

    It takes a few that `verify_raw` does not, which a signer has to make on purpose: with a nonce
    that is no point of the prime-order group, or that is written in another way. Whoever counts
    votes has to count them as CometBFT does.

    Parameters
    ----------
    public
        Passes `check_public`.

    References
    ----------
    de Valence, ZIP 215, 2020.
    """
    with suppress(BadSignatureError):
        verify_raw(public, data, signature)
        return True
    nonce, scalar = signature[:PUBLIC_BYTES], signature[PUBLIC_BYTES:]
    if len(signature) != SIGNATURE_BYTES or int.from_bytes(scalar, "little") >= GROUP_ORDER:
        return False
    hashed = bindings.crypto_core_ed25519_scalar_reduce(
        hashlib.sha512(nonce + public + data).digest()
    )
    try:
        left = (
            NEUTRAL
            if scalar == bytes(32)
            else bindings.crypto_scalarmult_ed25519_base_noclamp(scalar)
        )
        right = bindings.crypto_scalarmult_ed25519_noclamp(hashed, public)
        rest = bindings.crypto_core_ed25519_sub(left, right)
        rest = bindings.crypto_core_ed25519_sub(rest, nonce)
        for _ in range(3):  # times the cofactor
            rest = bindings.crypto_core_ed25519_add(rest, rest)
    except (SodiumRuntimeError, SodiumValueError):
        return False
    return rest == NEUTRAL


def unsafe_sign_raw(secret: bytes, data: bytes) -> bytes:
    """Return a signature over exactly ``data``: no domain, so the format has to bring its own."""
    return bindings.crypto_sign(data, keypair_of(secret))[:SIGNATURE_BYTES]


@lru_cache(maxsize=256)
def _prefix(domain: bytes) -> bytes:
    if not domain or b"\0" in domain:
        msg = "a signature domain is not empty and holds no zero byte"
        raise ValueError(msg)
    return b"tallystick/" + domain + b"\0"
