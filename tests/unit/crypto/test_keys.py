"""Ed25519: a signature serves one key, one domain, one message."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.crypto import keys

SECRET = keys.secret_from_seed(b"north")
PUBLIC = keys.public_of(SECRET)
relaxed = settings(deadline=None, max_examples=60)


@relaxed
@given(st.binary(max_size=300), st.binary(min_size=1, max_size=20).filter(lambda d: 0 not in d))
def test_what_is_signed_verifies(message, domain):
    signature = keys.sign(SECRET, domain, message)
    keys.verify(PUBLIC, domain, message, signature)

    assert len(signature) == keys.SIGNATURE_BYTES
    assert keys.is_valid(PUBLIC, domain, message, signature)
    assert keys.sign(SECRET, domain, message) == signature


@relaxed
@given(st.binary(min_size=1, max_size=100), st.integers(0, 10**6))
def test_any_flipped_bit_is_refused(message, position):
    signature = keys.sign(SECRET, b"tx", message)

    def flip(data):
        altered = bytearray(data)
        altered[position % len(data)] ^= 1 << position % 8
        return bytes(altered)

    assert not keys.is_valid(flip(PUBLIC), b"tx", message, signature)
    assert not keys.is_valid(PUBLIC, b"tx", flip(message), signature)
    assert not keys.is_valid(PUBLIC, b"tx", message, flip(signature))
    with pytest.raises(keys.BadSignatureError):
        keys.verify(PUBLIC, b"tx", message, flip(signature))


def test_a_signature_serves_no_other_domain():
    signature = keys.sign(SECRET, b"tx", b"message")

    assert not keys.is_valid(PUBLIC, b"attest", b"message", signature)
    assert not keys.is_valid(PUBLIC, b"t", b"x\0message", signature)


def test_a_domain_ends_where_it_ends():
    for domain in (b"", b"a\0b"):
        with pytest.raises(ValueError, match="domain"):
            keys.sign(SECRET, domain, b"")
        with pytest.raises(ValueError, match="domain"):
            keys.verify(PUBLIC, domain, b"", bytes(64))


def test_the_domain_prefix_is_part_of_the_format():
    signature = keys.sign(SECRET, b"tx", b"message")
    keys.verify_raw(PUBLIC, b"tallystick/tx\0message", signature)

    assert keys.unsafe_sign_raw(SECRET, b"tallystick/tx\0message") == signature


def test_new_secrets_differ_and_have_valid_public_keys():
    secrets = {keys.new_secret() for _ in range(20)}
    for secret in secrets:
        keys.check_public(keys.public_of(secret))

    assert len(secrets) == 20
    assert {len(secret) for secret in secrets} == {keys.SECRET_BYTES}


def test_a_seed_always_gives_the_same_secret():
    assert keys.secret_from_seed(b"north") == SECRET
    assert keys.secret_from_seed(b"south") != SECRET


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_secret_of_another_length_is_refused(size):
    with pytest.raises(keys.BadKeyError):
        keys.public_of(bytes(size))
    with pytest.raises(keys.BadKeyError):
        keys.sign(bytes(size), b"tx", b"")


@pytest.mark.parametrize(("public", "signature"), [(31, 64), (33, 64), (32, 63), (32, 65), (0, 0)])
def test_keys_and_signatures_of_another_length_are_refused(public, signature):
    assert not keys.is_valid(bytes(public), b"tx", b"", bytes(signature))
