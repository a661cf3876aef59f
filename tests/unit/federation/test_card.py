"""Cards: whoever is named on one has every key on it; any change on the way is noticed."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.codec import encode
from tallystick.crypto import keys
from tallystick.errors import ConfigError, DecodeError, TallyError, VerificationError
from tallystick.federation.armour import armour
from tallystick.federation.card import (
    Card,
    card_fingerprint,
    check_card,
    load_card,
    make_card,
    save_card,
)
from tallystick.federation.founding import trial_keyring
from tallystick.federation.keyring import new_keyring
from tallystick.ledger.genesis import Key

RING = trial_keyring(7, "north")
CARD = make_card(RING)
TEXT = armour("tally-card-1", "north", encode(CARD)).encode()


def changed(**fields):
    return msgspec.structs.replace(CARD, **fields)


def write(path, card, header="north"):
    """Write a card as somebody does who can compute a checksum."""
    path.write_text(armour("tally-card-1", header, encode(card)))
    return path


def test_what_is_saved_is_loaded(tmp_path):
    save_card(tmp_path / "north.card", CARD)

    assert load_card(tmp_path / "north.card") == CARD
    assert (tmp_path / "north.card").read_text().startswith("tally-card-1 north\n")
    assert [key.role for key in CARD.keys] == ["owner", "worker", "validator"]


def test_no_secret_is_on_it():
    secrets = (*RING.owner, *RING.worker, *RING.validator, RING.salt)

    assert not [secret for secret in secrets if secret in encode(CARD)]


def test_a_card_that_is_there_is_not_overwritten(tmp_path):
    path = tmp_path / "north.card"
    save_card(path, CARD)
    save_card(path, CARD)
    with pytest.raises(ConfigError, match="not overwritten"):
        save_card(path, make_card(new_keyring("north")))

    assert load_card(path) == CARD


@given(at=st.integers(0, len(TEXT) - 1), flip=st.integers(1, 255))
def test_any_byte_flipped_is_refused(tmp_path_factory, at, flip):
    damaged = bytearray(TEXT)
    damaged[at] ^= flip
    path = tmp_path_factory.mktemp("card") / "north.card"
    path.write_bytes(damaged)
    with pytest.raises((DecodeError, VerificationError), match=r"north\.card"):
        load_card(path)


def test_every_bit_of_the_body_counts_even_under_a_right_checksum(tmp_path):
    body = encode(CARD)
    path = tmp_path / "north.card"
    for at in range(len(body)):
        changed_body = bytearray(body)
        changed_body[at] ^= 1
        path.write_text(armour("tally-card-1", "north", bytes(changed_body)))
        with pytest.raises(TallyError, match=r"north\.card"):
            load_card(path)


@pytest.mark.parametrize("end", [b"", b"\n\n\n"])
def test_what_mail_does_to_line_ends_is_no_damage(tmp_path, end):
    path = tmp_path / "north.card"
    path.write_bytes(TEXT.replace(b"\n", b"\r\n").rstrip(b"\r\n") + end)

    assert load_card(path) == CARD


def test_anothers_key_cannot_be_on_a_card(tmp_path):
    mallory = new_keyring("mallory")
    said = encode((1, "mallory", CARD.keys))
    signed = (keys.sign(mallory.owner[0], b"card/1", said),) * 3
    stolen = [
        Card(1, "mallory", CARD.keys, CARD.proofs),
        Card(1, "mallory", CARD.keys, signed),
        Card(1, "mallory", CARD.keys[:1], CARD.proofs[:1]),
    ]
    for card in stolen:
        with pytest.raises(VerificationError, match=r"x\.card.*did not sign") as caught:
            load_card(write(tmp_path / "x.card", card, header="mallory"))
        assert caught.value.hint


def test_a_key_signs_its_role_and_the_keys_beside_it():
    first, second, third = CARD.keys
    swapped = (Key(first.public, "worker"), Key(second.public, "owner"), third)
    for keys_, proofs in [
        (swapped, CARD.proofs),
        (CARD.keys[:2], CARD.proofs[:2]),
        ((second, first, third), (CARD.proofs[1], CARD.proofs[0], CARD.proofs[2])),
    ]:
        with pytest.raises(VerificationError, match="did not sign"):
            check_card(changed(keys=keys_, proofs=proofs))


def test_a_malformed_card_is_refused(tmp_path):
    small = bytes([1] + 31 * [0])  # the neutral element: every library treats it otherwise
    cases = [
        (changed(version=2), "version 2"),
        (changed(proofs=CARD.proofs[:2]), "once with one signature"),
        (changed(keys=CARD.keys[:1] * 3), "once with one signature"),
        (changed(keys=CARD.keys[1:], proofs=CARD.proofs[1:]), "no owner key"),
        (changed(keys=(Key(small, "owner"), *CARD.keys[1:])), "not a valid Ed25519 point"),
        (changed(name="south"), "header of another"),
    ]
    for number, (card, named) in enumerate(cases):
        path = write(tmp_path / f"{number}.card", card)
        with pytest.raises((DecodeError, VerificationError), match=rf"{number}\.card.*{named}"):
            load_card(path)


def test_what_is_no_card_is_refused(tmp_path):
    path = tmp_path / "x.card"
    for data in (b"", b"\xff\xfe", b"hello\n", TEXT.replace(b"card-1", b"card-2"), TEXT[:50]):
        path.write_bytes(data)
        with pytest.raises(DecodeError, match=r"x\.card"):
            load_card(path)
    with pytest.raises(ConfigError):
        load_card(tmp_path / "nowhere.card")
    with pytest.raises(ConfigError, match="no regular file"):
        load_card(tmp_path)


def test_a_fingerprint_is_short_and_tells_cards_apart():
    other = trial_keyring(7, "south")
    renamed = changed(name="south")

    assert len(card_fingerprint(CARD).split()) == 8
    assert {len(group) for group in card_fingerprint(CARD).split()} == {4}
    prints = {card_fingerprint(card) for card in (CARD, renamed, make_card(other))}
    assert len(prints) == 3
