"""Envelopes: a key reaches one member, for one thing, or nobody."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.crypto import envelope as envelopes
from tallystick.crypto import keys
from tallystick.crypto.hashes import sha256

SECRET, OTHER = keys.secret_from_seed(b"north"), keys.secret_from_seed(b"south")
DIGEST = sha256("test", b"rows")
KEY = bytes(range(32))
relaxed = settings(deadline=None, max_examples=40)


@relaxed
@given(st.binary(max_size=300))
def test_what_is_encrypted_opens_under_its_key_alone(plain):
    data = envelopes.encrypt(KEY, plain)

    assert envelopes.decrypt(KEY, data) == plain
    assert len(data) == len(plain) + envelopes.OVERHEAD_BYTES
    assert envelopes.encrypt(KEY, plain) != data
    with pytest.raises(envelopes.EnvelopeError):
        envelopes.decrypt(envelopes.new_key(), data)


@relaxed
@given(st.integers(0, 10**6))
def test_any_flipped_bit_of_the_bytes_or_the_envelope_is_noticed(position):
    def flip(data):
        altered = bytearray(data)
        altered[position % len(data)] ^= 1 << position % 8
        return bytes(altered)

    with pytest.raises(envelopes.EnvelopeError):
        envelopes.decrypt(KEY, flip(envelopes.encrypt(KEY, b"rows")))
    sealed = envelopes.seal_envelope(KEY, DIGEST, keys.public_of(SECRET))
    with pytest.raises(envelopes.EnvelopeError):
        envelopes.open_envelope(flip(sealed), DIGEST, SECRET)


@pytest.mark.parametrize("data", [b"", b"short", bytes(40)])
def test_bytes_that_nobody_encrypted_do_not_open(data):
    with pytest.raises(envelopes.EnvelopeError):
        envelopes.decrypt(KEY, data)


def test_an_envelope_is_for_one_member_and_one_thing():
    sealed = envelopes.seal_envelope(KEY, DIGEST, keys.public_of(SECRET))

    assert len(sealed) == envelopes.ENVELOPE_BYTES
    assert envelopes.open_envelope(sealed, DIGEST, SECRET) == KEY
    with pytest.raises(envelopes.EnvelopeError, match="not sealed for this key"):
        envelopes.open_envelope(sealed, DIGEST, OTHER)
    with pytest.raises(envelopes.EnvelopeError, match="something else"):
        envelopes.open_envelope(sealed, bytes(32), SECRET)
    with pytest.raises(envelopes.EnvelopeError):
        envelopes.open_envelope(b"", DIGEST, SECRET)


def test_nothing_is_sealed_for_a_key_that_is_none():
    with pytest.raises(keys.BadKeyError):
        envelopes.seal_envelope(KEY, DIGEST, bytes(32))
