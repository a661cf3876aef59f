"""Key files: nobody else reads them, none is overwritten or half there, damage is named."""

import os
from dataclasses import replace

import pytest
from msgspec import structs
from support.world import World

from tallystick.codec import encode
from tallystick.crypto import keys
from tallystick.crypto.hashes import sha256
from tallystick.errors import ConfigError, DecodeError, UnavailableError
from tallystick.federation import key_file
from tallystick.federation.armour import armour
from tallystick.federation.founding import trial_network
from tallystick.federation.key_file import add_secret, key_path, load_keyring, save_keyring
from tallystick.federation.keyring import new_keyring
from tallystick.ledger.contracts.members import key_proof
from tallystick.ledger.genesis import Founder, Key
from tallystick.ledger.messages import ProposeChange, Remove, RotateKey, Vote
from tallystick.storage.lock import Lock

posix = pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")


@pytest.fixture
def ring(tmp_path):
    """A keyring that is saved in the folder `keys`."""
    made = new_keyring("north")
    save_keyring(tmp_path / "keys", made)
    return made


def test_what_is_saved_is_loaded(tmp_path, ring):
    assert load_keyring(tmp_path / "keys") == ring
    assert load_keyring(tmp_path / "keys", "north") == ring


def test_secrets_are_all_different_and_of_32_bytes():
    rings = [new_keyring("north"), new_keyring("north")]
    secrets = [s for ring in rings for s in (*ring.owner, *ring.worker, *ring.validator, ring.salt)]

    assert len(set(secrets)) == 8
    assert {len(secret) for secret in secrets} == {32}


def test_no_secret_is_shown(ring):
    assert repr(ring) == "Keyring(name='north')"


@pytest.mark.parametrize("name", ["", "North", "../x", "a/b", ".a", "x" * 65, "nörd"])
def test_a_name_the_ledger_refuses_gets_no_keys(name):
    with pytest.raises(ConfigError, match="member name"):
        new_keyring(name)


@posix
def test_file_and_folder_are_their_owners_alone_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        path = save_keyring(tmp_path / "keys", new_keyring("north"))
        add_secret(tmp_path / "keys", "worker")
    finally:
        os.umask(before)

    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


@posix
def test_it_is_made_unreadable_for_others_not_turned_so_later(tmp_path, monkeypatch):
    modes = []

    def watched(number):
        modes.append(os.fstat(number).st_mode & 0o777)

    monkeypatch.setattr(key_file.os, "fsync", watched)
    monkeypatch.setattr(key_file.os, "fdopen", _checking(os.fdopen, modes))
    save_keyring(tmp_path, new_keyring("north"))

    assert set(modes[:2]) == {0o600}


def _checking(inner, modes):
    def opened(number, mode):
        modes.append(os.fstat(number).st_mode & 0o777)
        return inner(number, mode)

    return opened


def test_a_key_file_is_never_overwritten(tmp_path, ring):
    with pytest.raises(ConfigError, match=r"north\.key exists already"):
        save_keyring(tmp_path / "keys", new_keyring("north"))

    assert load_keyring(tmp_path / "keys") == ring


@posix
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o777])
def test_a_file_others_can_use_is_refused(tmp_path, ring, mode):
    key_path(tmp_path / "keys", "north").chmod(mode)
    with pytest.raises(ConfigError, match=r"north\.key can be read") as caught:
        load_keyring(tmp_path / "keys")

    assert "chmod 600" in caught.value.hint


@posix
def test_a_file_that_cannot_even_be_changed_is_fine(tmp_path, ring):
    key_path(tmp_path / "keys", "north").chmod(0o400)

    assert load_keyring(tmp_path / "keys") == ring


def test_a_folder_without_one_key_says_what_is_there(tmp_path, ring):
    folder = tmp_path / "keys"
    with pytest.raises(ConfigError, match="no folder"):
        load_keyring(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="holds no key file, but keys"):
        load_keyring(tmp_path)
    with pytest.raises(ConfigError, match=r"south\.key"):
        load_keyring(folder, "south")
    save_keyring(folder, new_keyring("south"))
    with pytest.raises(ConfigError, match=r"several key files: north\.key, south\.key"):
        load_keyring(folder)

    assert load_keyring(folder, "south").name == "south"


def test_any_byte_flipped_is_refused(tmp_path, ring):
    path = key_path(tmp_path / "keys", "north")
    whole = path.read_bytes()
    for at in range(len(whole)):
        for flip in (1, 0x20, 0x80):
            damaged = bytearray(whole)
            damaged[at] ^= flip
            path.write_bytes(damaged)
            with pytest.raises(DecodeError, match=r"north\.key"):
                load_keyring(tmp_path / "keys")


@pytest.mark.parametrize("cut", [0, 1, 20, 100, -2])
def test_a_file_cut_short_is_refused(tmp_path, ring, cut):
    path = key_path(tmp_path / "keys", "north")
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DecodeError, match=r"north\.key"):
        load_keyring(tmp_path / "keys")


def test_a_file_too_long_is_refused(tmp_path, ring):
    path = key_path(tmp_path / "keys", "north")
    path.write_bytes(path.read_bytes() + b"\n" * (1 << 17))
    with pytest.raises(ConfigError, match="64 KiB"):
        load_keyring(tmp_path / "keys")


def test_a_renamed_key_file_says_whose_it_is(tmp_path, ring):
    path = key_path(tmp_path / "keys", "north")
    path.rename(path.with_name("south.key"))
    with pytest.raises(DecodeError, match="the key file of 'north'"):
        load_keyring(tmp_path / "keys")


def test_a_text_of_another_kind_or_content_is_refused(tmp_path, ring):
    path = key_path(tmp_path / "keys", "north")
    for text in (armour("tally-card-1", "north", b"x"), armour("tally-key-1", "north", b"x")):
        path.write_text(text)
        with pytest.raises(DecodeError, match=r"north\.key"):
            load_keyring(tmp_path / "keys")


def test_a_key_file_from_a_machine_with_other_line_ends_is_read(tmp_path, ring):
    path = key_path(tmp_path / "keys", "north")
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))

    assert load_keyring(tmp_path / "keys") == ring


def test_a_new_secret_is_the_last_of_its_role_and_changes_nothing_else(tmp_path, ring):
    added = add_secret(tmp_path / "keys", "worker")

    assert added == load_keyring(tmp_path / "keys")
    assert added.worker[:-1] == ring.worker
    assert len(added.worker) == 2
    assert replace(added, worker=ring.worker) == ring
    assert added.public("worker") == keys.public_of(added.worker[-1])


def test_an_unknown_role_is_refused(tmp_path, ring):
    with pytest.raises(ConfigError, match="no role 'boss'"):
        add_secret(tmp_path / "keys", "boss")


def test_a_full_key_file_is_refused(tmp_path, monkeypatch, ring):
    monkeypatch.setattr(key_file, "MOST_SECRETS", 1)
    with pytest.raises(ConfigError, match="no room for another"):
        add_secret(tmp_path / "keys", "owner")


def test_a_new_secret_is_durable_before_anybody_hears_of_it(tmp_path, monkeypatch, ring):
    done = []
    folder = tmp_path / "keys"
    real = os.fsync
    monkeypatch.setattr(key_file.os, "fsync", lambda number: (done.append("file"), real(number)))
    monkeypatch.setattr(key_file, "sync_folder", lambda path: done.append(path.name))
    add_secret(folder, "owner")

    assert done == ["file", "keys"]


def test_a_crash_while_adding_leaves_the_old_file_and_the_next_try_works(
    tmp_path, monkeypatch, ring
):
    folder = tmp_path / "keys"

    def fails(path, target):
        raise OSError(5, "power loss")

    with monkeypatch.context() as broken:
        broken.setattr(key_file.Path, "replace", fails)
        with pytest.raises(UnavailableError, match="power loss"):
            add_secret(folder, "owner")

    assert load_keyring(folder) == ring
    assert len(add_secret(folder, "owner").owner) == 2
    assert sorted(path.name for path in folder.glob("*.new")) == []


def test_a_failing_disk_leaves_no_half_of_a_file(tmp_path, monkeypatch):
    def fails(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(key_file.os, "fsync", fails)
    with pytest.raises(UnavailableError, match="No space left"):
        save_keyring(tmp_path, new_keyring("north"))

    assert list(tmp_path.iterdir()) == []


def test_two_cannot_add_at_once(tmp_path, ring):
    held = Lock(key_path(tmp_path / "keys", "north"))
    with pytest.raises(UnavailableError, match="in use"):
        add_secret(tmp_path / "keys", "owner")
    held.close()

    assert load_keyring(tmp_path / "keys") == ring


# --- On the ledger -------------------------------------------------------------------------------


@pytest.fixture
def made():
    return trial_network(("alpha", "bravo", "charlie"), 4)


@pytest.fixture
def world(made):
    return World(("alpha", "bravo", "charlie"), genesis=made.genesis)


def rotate(world, ring, role):
    """Return the keyring after a rotation of ``role`` was sealed."""
    old = ring.identity_in(world.state, "owner")
    secret = keys.new_secret()
    public = keys.public_of(secret)
    message = RotateKey(Key(public, role), key_proof(secret, ring.name, public, world.kernel.chain))
    world.accept(ring.name, message, key=old.key, secret=old.secret)
    return replace(ring, **{role: (*ring.secrets(role), secret)})


def test_an_identity_has_the_key_of_its_role(made, world):
    ring = made.keyrings["bravo"]
    found = {role: ring.identity_in(world.state, role) for role in ("owner", "worker", "validator")}

    assert [found[role].key for role in found] == [0, 1, 2]
    assert found["worker"] == ring.identity_in(world.state)
    assert all(found[role].secret == ring.secrets(role)[-1] for role in found)
    assert {each.salt_secret for each in found.values()} == {ring.salt}


def test_after_a_rotation_the_new_key_acts(made, world):
    ring = rotate(world, made.keyrings["bravo"], "worker")
    found = ring.identity_in(world.state)

    assert (found.key, found.secret) == (3, ring.worker[-1])


def test_a_secret_made_but_not_yet_on_the_ledger_changes_nothing(made, world):
    ring = made.keyrings["bravo"]
    ahead = replace(ring, worker=(*ring.worker, keys.new_secret()))

    assert ahead.identity_in(world.state) == ring.identity_in(world.state)


def test_an_old_key_file_is_refused_and_not_replaced_by_the_owners(made, world):
    rotate(world, made.keyrings["bravo"], "worker")
    with pytest.raises(ConfigError, match="no worker key of 'bravo'") as caught:
        made.keyrings["bravo"].identity_in(world.state)

    assert "newest key file" in caught.value.hint


def test_a_member_without_a_worker_key_works_with_its_owners():
    ring = new_keyring("alpha")
    founder = Founder("alpha", (Key(ring.public("owner"), "owner"),), 10)
    genesis = structs.replace(trial_network(("alpha",), 0).genesis, founders=(founder,))
    state = World(("alpha",), genesis=genesis).state

    assert ring.identity_in(state).key == 0
    assert ring.identity_in(state).secret == ring.owner[0]
    with pytest.raises(ConfigError, match="no validator key"):
        ring.identity_in(state, "validator")
    with pytest.raises(ConfigError, match="no worker key"):
        new_keyring("alpha").identity_in(state)


def test_a_stranger_and_a_removed_member_are_told_so(made, world):
    with pytest.raises(ConfigError, match="no member of this ledger"):
        new_keyring("zulu").identity_in(world.state)
    change = Remove("charlie")
    _vote_out(world, made, change)
    with pytest.raises(ConfigError, match="was removed"):
        made.keyrings["charlie"].identity_in(world.state)


def _vote_out(world, made, change):
    secrets = {name: ring.owner[0] for name, ring in made.keyrings.items()}
    world.accept("alpha", ProposeChange(change), secret=secrets["alpha"])
    for name in ("bravo", "charlie"):
        world.send(name, Vote(sha256("proposal", encode(change))), secret=secrets[name])
    world.seal()
