"""Signatures as CometBFT counts them, against the rule of ZIP 215 written out."""

import hashlib

import pytest
from nacl import bindings

from tallystick.crypto import keys
from tallystick.crypto.votes import PRECOMMIT, BlockId, Moment, Vote, is_vote_of, sign_bytes

PRIME = 2**255 - 19
CURVE = -121665 * pow(121666, -1, PRIME) % PRIME
ORDER_8 = bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")
SECRET = bytes(range(32))
PUBLIC = keys.public_of(SECRET)


def add(one, other):
    (a, b), (c, d) = one, other
    t = CURVE * a * b * c * d % PRIME
    return (
        (a * d + b * c) * pow(1 + t, -1, PRIME) % PRIME,
        (a * c + b * d) * pow(1 - t, -1, PRIME) % PRIME,
    )


def times(point, number):
    total = (0, 1)
    while number:
        if number & 1:
            total = add(total, point)
        point, number = add(point, point), number >> 1
    return total


def point_of(data):
    number = int.from_bytes(data, "little")
    sign, y = number >> 255, number % 2**255 % PRIME
    square = (y * y - 1) * pow(CURVE * y * y + 1, -1, PRIME) % PRIME
    x = pow(square, (PRIME + 3) // 8, PRIME)
    if (x * x - square) % PRIME:
        x = x * pow(2, (PRIME - 1) // 4, PRIME) % PRIME
    if (x * x - square) % PRIME:
        return None
    return (-x % PRIME if x & 1 != sign else x, y)


def expected(data, signature):
    """Return whether the rule holds: 8 s B = 8 R + 8 k A."""
    nonce, scalar = point_of(signature[:32]), int.from_bytes(signature[32:], "little")
    if nonce is None or scalar >= keys.GROUP_ORDER:
        return False
    hashed = int.from_bytes(hashlib.sha512(signature[:32] + PUBLIC + data).digest(), "little")
    base = point_of((4 * pow(5, -1, PRIME) % PRIME).to_bytes(32, "little"))
    right = add(nonce, times(point_of(PUBLIC), hashed % keys.GROUP_ORDER))
    return times(times(base, scalar), 8) == times(right, 8)


def number_of(secret):
    clamped = bytearray(hashlib.sha512(secret).digest()[:32])
    clamped[0] &= 248
    clamped[31] = clamped[31] & 127 | 64
    return bindings.crypto_core_ed25519_scalar_reduce(bytes(clamped) + bytes(32))


def sign_with(nonce, data, scalar=bytes(32)):
    """Return a signature whose nonce point is written as ``nonce``, of discrete log ``scalar``."""
    hashed = hashlib.sha512(nonce + PUBLIC + data).digest()
    hashed = bindings.crypto_core_ed25519_scalar_reduce(hashed)
    product = bindings.crypto_core_ed25519_scalar_mul(hashed, number_of(SECRET))
    return nonce + bindings.crypto_core_ed25519_scalar_add(scalar, product)


def shifted(data):
    """Return a signature whose nonce has a part of order 8."""
    scalar = bindings.crypto_core_ed25519_scalar_reduce(hashlib.sha512(b"r" + data).digest())
    point = bindings.crypto_scalarmult_ed25519_base_noclamp(scalar)
    return sign_with(bindings.crypto_core_ed25519_add(point, ORDER_8), data, scalar)


def small_nonces():
    """Return every way to write the eight points of small order."""
    point, found = (0, 1), []
    for _ in range(8):
        point = add(point, point_of(ORDER_8))
        for y in (point[1], point[1] + PRIME):
            if y < 2**255:
                found += [(y | sign << 255).to_bytes(32, "little") for sign in (0, 1)]
    return found


def test_what_libsodium_takes_holds():
    signature = keys.unsafe_sign_raw(SECRET, b"data")

    assert expected(b"data", signature)
    assert keys.is_valid_cofactored(PUBLIC, b"data", signature)


def test_a_nonce_outside_the_group_of_prime_order_counts_as_it_does_for_cometbft():
    signature = shifted(b"data")
    with pytest.raises(keys.BadSignatureError):
        keys.verify_raw(PUBLIC, b"data", signature)

    assert expected(b"data", signature)
    assert keys.is_valid_cofactored(PUBLIC, b"data", signature)
    assert not keys.is_valid_cofactored(PUBLIC, b"date", signature)


@pytest.mark.parametrize("nonce", small_nonces(), ids=bytes.hex)
def test_a_nonce_of_small_order_counts_however_it_is_written(nonce):
    signature = sign_with(nonce, b"data")

    assert expected(b"data", signature)
    assert keys.is_valid_cofactored(PUBLIC, b"data", signature)


@pytest.mark.parametrize("place", range(0, 64, 3))
def test_no_altered_byte_of_such_a_signature_holds(place):
    signature = bytearray(shifted(b"data"))
    signature[place] ^= 1 << place % 8

    assert not expected(b"data", bytes(signature))
    assert not keys.is_valid_cofactored(PUBLIC, b"data", bytes(signature))


def test_a_scalar_beyond_the_order_holds_nowhere():
    signature = shifted(b"data")
    scalar = int.from_bytes(signature[32:], "little") + keys.GROUP_ORDER

    assert not keys.is_valid_cofactored(
        PUBLIC, b"data", signature[:32] + scalar.to_bytes(32, "little")
    )


@pytest.mark.parametrize("signature", [b"", bytes(63), bytes(64), bytes([255]) * 64, bytes(65)])
def test_what_is_no_signature_is_refused(signature):
    assert not keys.is_valid_cofactored(PUBLIC, b"data", signature)


def test_votes_are_counted_by_that_rule():
    vote = Vote(PRECOMMIT, 3, 0, BlockId(bytes(32), 1, bytes(32)), Moment(7, 0))

    assert is_vote_of(PUBLIC, vote, "chain-1", shifted(sign_bytes(vote, "chain-1")))
    assert not is_vote_of(PUBLIC, vote, "chain-2", shifted(sign_bytes(vote, "chain-1")))
