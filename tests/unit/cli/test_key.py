"""`tally key`: the secret stays, the card travels, and neither is overwritten."""

import os

import pytest

from tallystick.federation.card import card_fingerprint, load_card
from tallystick.federation.key_file import add_secret, load_keyring


def test_new_writes_a_key_and_its_card(tally, tmp_path):
    ran = tally("key", "new", "north", "--out", tmp_path / "keys", "--json")
    document, card = ran.document, load_card(tmp_path / "keys" / "north.card")

    assert ran.status == 0
    assert (document["format"], document["ok"], document["name"]) == ("tally.key/1", True, "north")
    assert document["fingerprint"] == card_fingerprint(card)
    assert document["keys"] == [{"role": key.role, "public": key.public.hex()} for key in card.keys]
    assert document["files"] == {
        "key": str(tmp_path / "keys" / "north.key"),
        "card": str(tmp_path / "keys" / "north.card"),
    }
    assert load_keyring(tmp_path / "keys").name == "north"
    if os.name == "posix":
        assert (tmp_path / "keys" / "north.key").stat().st_mode & 0o777 == 0o600


def test_people_read_the_fingerprint_and_no_secret(tally, tmp_path):
    ran = tally("key", "new", "north", "--out", tmp_path)
    ring = load_keyring(tmp_path)

    assert card_fingerprint(load_card(tmp_path / "north.card")) in ran.out
    for secret in (*ring.owner, *ring.worker, *ring.validator, ring.salt):
        assert secret.hex() not in ran.out + ran.err


def test_new_overwrites_neither_key_nor_card(tally, tmp_path):
    tally("key", "new", "north", "--out", tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    ran = tally("key", "new", "north", "--out", tmp_path, "--json")
    (tmp_path / "north.key").unlink()
    again = tally("key", "new", "north", "--out", tmp_path, "--json")
    (tmp_path / "north.key").write_bytes(before[tmp_path / "north.key"])
    (tmp_path / "north.card").unlink()
    third = tally("key", "new", "north", "--out", tmp_path, "--json")

    assert (ran.status, again.status, third.status) == (2, 2, 2)
    assert "not overwritten" in ran.error["message"]
    assert (tmp_path / "north.key").read_bytes() == before[tmp_path / "north.key"]
    assert not (tmp_path / "north.card").exists()


def test_show_tells_the_same_and_how_many_secrets_there_are(tally, tmp_path):
    made = tally("key", "new", "north", "--out", tmp_path, "--json").document
    add_secret(tmp_path, "worker")
    shown = tally("key", "show", tmp_path, "--json").document

    assert shown["held"] == {"owner": 1, "worker": 2, "validator": 1}
    assert shown["keys"][0] == made["keys"][0]
    assert shown["keys"][1] != made["keys"][1]
    assert shown["fingerprint"] != made["fingerprint"]


def test_show_writes_the_card_again(tally, tmp_path):
    tally("key", "new", "north", "--out", tmp_path)
    before = (tmp_path / "north.card").read_bytes()
    ran = tally("key", "show", tmp_path, "--card", tmp_path / "again.card")

    assert ran.status == 0
    assert (tmp_path / "again.card").read_bytes() == before
    assert tally("key", "show", tmp_path).status == 0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("key", "new", "North", "--out", "x"), "North"),
        (("key", "new", "../x", "--out", "x"), "../x"),
        (("key", "new", "north"), "--out"),
        (("key", "show", "nowhere"), "nowhere"),
    ],
)
def test_bad_input_is_status_2_and_named(tally, tmp_path, monkeypatch, arguments, named):
    monkeypatch.chdir(tmp_path)
    ran = tally(*arguments, "--json")

    assert ran.status == 2
    assert named in ran.error["message"]
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_key_file_is_status_2(tally, tmp_path):
    tally("key", "new", "north", "--out", tmp_path)
    path = tmp_path / "north.key"
    path.write_bytes(path.read_bytes()[:-5] + b"AAAA\n")
    ran = tally("key", "show", tmp_path, "--json")

    assert ran.status == 2
    assert ran.error["code"] == "malformed"
    assert str(path) in ran.error["message"]


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_a_key_others_can_read_is_refused_with_what_to_do(tally, tmp_path):
    tally("key", "new", "north", "--out", tmp_path)
    (tmp_path / "north.key").chmod(0o644)
    ran = tally("key", "show", tmp_path, "--json")

    assert ran.status == 2
    assert "chmod 600" in ran.error["hint"]
