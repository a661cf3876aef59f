"""Founding a network: who is in the genesis, what is refused, and a trial is a simulation's."""

import pytest
from msgspec import structs

from tallystick.codec import decode, encode
from tallystick.consensus.cometbft.home import node_id
from tallystick.crypto import keys
from tallystick.errors import ConfigError, DecodeError, VerificationError
from tallystick.federation.armour import write_new
from tallystick.federation.card import fingerprint, load_card, make_card
from tallystick.federation.founding import found_network, trial_keyring, trial_network, warning
from tallystick.federation.key_file import load_keyring
from tallystick.federation.keyring import new_keyring
from tallystick.federation.network_folder import (
    genesis_line,
    name_for,
    plan_settings,
    read_genesis,
    write_network,
)
from tallystick.federation.settings import NodeSettings
from tallystick.federation.trial import EPOCH, FUNDS, simulated_genesis
from tallystick.ledger.contracts.validators import validator_set
from tallystick.ledger.genesis import Genesis, Limits, genesis_hash, load_genesis
from tallystick.ledger.kernel import Kernel

NAMES = ("south", "north", "east")
RINGS = {name: new_keyring(name) for name in NAMES}
CARDS = [make_card(RINGS[name]) for name in NAMES]


def test_founders_are_sorted_and_hold_the_keys_of_their_cards():
    genesis = found_network("heart", CARDS, time=5)

    assert [founder.id for founder in genesis.founders] == sorted(NAMES)
    assert genesis.sealer == "south"
    assert (genesis.name, genesis.engine, genesis.time, genesis.trial) == (
        "heart",
        "solo",
        5,
        False,
    )
    assert {founder.micros for founder in genesis.founders} == {FUNDS}
    assert load_genesis(encode(genesis)) == genesis
    for founder in genesis.founders:
        assert fingerprint(founder.id, founder.keys) == fingerprint(
            founder.id, make_card(RINGS[founder.id]).keys
        )


def test_the_order_of_cards_decides_the_sealer_and_nothing_else():
    one = found_network("heart", CARDS, time=5, sealer="north")
    other = found_network("heart", CARDS[::-1], time=5, sealer="north")

    assert one == other
    assert found_network("heart", CARDS[::-1], time=5).sealer == "east"


def test_every_founder_acts_on_the_ledger_it_founded():
    state, _ = Kernel(found_network("heart", CARDS, time=5)).found()

    assert {RINGS[name].identity_in(state).member for name in NAMES} == set(NAMES)


def test_the_same_card_twice_and_two_cards_of_one_name_are_refused():
    with pytest.raises(ConfigError, match="'south' has two cards, the same one"):
        found_network("heart", [*CARDS, CARDS[0]], time=5)
    with pytest.raises(ConfigError, match="'south' has two cards, with different keys"):
        found_network("heart", [*CARDS, make_card(new_keyring("south"))], time=5)


def test_cards_are_checked_again():
    forged = structs.replace(CARDS[0], name="west")
    with pytest.raises(VerificationError, match="did not sign"):
        found_network("heart", [*CARDS, forged], time=5)
    with pytest.raises(DecodeError, match="version 9"):
        found_network("heart", [structs.replace(CARDS[0], version=9)], time=5)


def test_members_do_not_share_a_key():
    twin = make_card(structs_of(RINGS["south"], "twin"))
    with pytest.raises(ConfigError, match="appears twice"):
        found_network("heart", [*CARDS, twin], time=5)


def structs_of(ring, name):
    """Return the keyring of a member who uses its keys under another name, too."""
    return type(ring)(name, ring.owner, ring.worker, ring.validator, ring.salt)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"engine": "cometbft", "sealer": "south"}, "'south' cannot seal"),
        ({"engine": "pow"}, "engine 'pow'"),
        ({"engine": "nope"}, "engine 'nope'"),
        ({"sealer": "west"}, "the sealer 'west' is not a founder"),
        ({"name": "Heart Study"}, "network name 'Heart Study'"),
        ({"name": ""}, "network name"),
        ({"name": "x" * 33}, "network name"),
        ({"time": -1}, "time"),
        ({"funds": -1}, "funds"),
        ({"funds": 2**62}, "money"),
        ({"cards": []}, "at least one founder"),
        ({"limits": Limits(transaction_bytes=1)}, "1 KiB"),
    ],
)
def test_what_no_network_can_be_is_refused(given, named):
    with pytest.raises(ConfigError, match=named):
        found_network(**{"name": "heart", "cards": CARDS, "time": 5, **given})


# --- Trials ------------------------------------------------------------------------------------


def test_a_trial_network_is_a_simulations_but_for_its_name():
    made = trial_network(NAMES, 3, name="simulation")

    assert made.genesis == simulated_genesis("simulation", NAMES, 3)
    assert structs.replace(trial_network(NAMES, 3).genesis, name="simulation") == made.genesis
    assert list(made.keyrings) == sorted(NAMES)
    assert made.genesis.trial


def test_a_trial_member_is_the_simulated_one(federation):
    simulated = federation(None)
    made = trial_network(tuple(simulated.members), simulated.seed, name="simulation")

    assert made.genesis == simulated.engine.genesis
    for name, member in simulated.members.items():
        found = made.keyrings[name].identity_in(simulated.engine.state, "owner")
        assert found == member.identity


def test_cards_of_trial_keyrings_found_the_same_network():
    cards = [make_card(trial_keyring(3, name)) for name in NAMES]
    founded = found_network("simulation", cards, time=EPOCH, trial=True, sealer=min(NAMES))

    assert founded == simulated_genesis("simulation", NAMES, 3)


def test_another_seed_is_another_network():
    assert genesis_hash(trial_network(NAMES, 3).genesis) != genesis_hash(
        trial_network(NAMES, 4).genesis
    )


@pytest.mark.parametrize(
    ("names", "given", "named"),
    [
        (("a", "b", "a"), {}, "'a' is named twice"),
        (("a", "B"), {}, "member name 'B'"),
        ((), {}, "at least one"),
        (("a",), {"sealer": "b"}, "sealer 'b'"),
        (("a",), {"name": "A"}, "network name 'A'"),
        (("a",), {"engine": "pow"}, "engine 'pow'"),
        (("a",), {"engine": "cometbft", "sealer": "a"}, "'a' cannot seal"),
    ],
)
def test_what_no_trial_can_be_is_refused(names, given, named):
    with pytest.raises(ConfigError, match=named):
        trial_network(names, 0, **given)


def test_a_trial_is_sealed_by_whom_one_says():
    assert trial_network(NAMES, 3, sealer="south").genesis.sealer == "south"


# --- Ordering together -------------------------------------------------------------------------


def test_under_cometbft_every_founder_validates_and_nobody_seals():
    genesis = found_network("heart", CARDS, engine="cometbft", time=5)
    state, _ = Kernel(genesis).found()

    assert (genesis.engine, genesis.sealer) == ("cometbft", "")
    assert decode(Genesis, encode(genesis)) == genesis
    assert validator_set(state) == {name: RINGS[name].public("validator") for name in sorted(NAMES)}


def test_under_cometbft_a_card_needs_a_validator_key():
    held = tuple(key for key in CARDS[0].keys if key.role != "validator")
    ring = RINGS[CARDS[0].name]
    said = encode((CARDS[0].version, CARDS[0].name, held))
    proofs = tuple(keys.sign(ring.secrets(key.role)[-1], b"card/1", said) for key in held)
    card = structs.replace(CARDS[0], keys=held, proofs=proofs)
    founders = [card, *CARDS[1:]]

    assert found_network("heart", founders, time=5).engine == "solo"
    with pytest.raises(ConfigError, match=f"card of '{card.name}' has no validator key"):
        found_network("heart", founders, engine="cometbft", time=5)


def test_a_trial_under_cometbft_differs_by_who_orders_it_alone():
    made = trial_network(NAMES, 3, engine="cometbft")

    assert structs.replace(made.genesis, engine="solo", sealer=min(NAMES)) == (
        trial_network(NAMES, 3).genesis
    )
    assert made.genesis.sealer == ""


@pytest.mark.parametrize(
    ("count", "said"),
    [(1, "one validator tolerates no fault"), (3, "3 validators tolerate"), (4, "")],
)
def test_founders_are_told_when_no_fault_is_tolerated(count, said):
    names = tuple(f"m{at}" for at in range(count))

    assert warning(trial_network(names, 0, engine="cometbft").genesis).startswith(said)
    assert bool(said) == bool(warning(trial_network(names, 0, engine="cometbft").genesis))
    assert warning(trial_network(names, 0).genesis) == ""


# --- The folder --------------------------------------------------------------------------------


def write_trial(folder):
    made = trial_network(NAMES, 3)
    write_network(folder, made.genesis, plan_settings(NAMES, {}), made.keyrings)
    return made


def test_a_trial_folder_has_genesis_settings_keys_and_cards(tmp_path):
    made = write_trial(tmp_path / "net")

    assert read_genesis(tmp_path / "net") == made.genesis
    assert read_genesis(tmp_path / "net" / "genesis.bin") == made.genesis
    for number, name in enumerate(sorted(NAMES)):
        home = tmp_path / "net" / name
        assert NodeSettings.load(home / "node.toml").port == 26650 + number
        assert load_keyring(home) == made.keyrings[name]
        assert load_card(home / f"{name}.card") == make_card(made.keyrings[name])


def test_a_network_is_founded_once(tmp_path):
    write_trial(tmp_path)
    with pytest.raises(ConfigError, match="holds a network already"):
        write_trial(tmp_path)


def test_an_interrupted_founding_is_begun_again(tmp_path):
    made = write_trial(tmp_path)
    (tmp_path / "genesis.bin").unlink()
    (tmp_path / "south" / "node.toml").unlink()

    assert write_trial(tmp_path).genesis == made.genesis
    assert read_genesis(tmp_path) == made.genesis


def test_what_is_there_is_not_overwritten(tmp_path):
    (tmp_path / "north").mkdir()
    (tmp_path / "north" / "node.toml").write_text("mine")
    with pytest.raises(ConfigError, match=r"node\.toml exists already"):
        write_trial(tmp_path)

    assert not (tmp_path / "genesis.bin").exists()
    assert (tmp_path / "north" / "node.toml").read_text() == "mine"


def test_a_member_cannot_lie_where_the_genesis_does(tmp_path):
    made = trial_network(("genesis.bin",), 0)
    with pytest.raises(ConfigError, match=r"'genesis\.bin'"):
        write_network(tmp_path, made.genesis, plan_settings(made.keyrings, {}), made.keyrings)


def test_a_damaged_genesis_is_refused(tmp_path):
    path = tmp_path / "genesis.bin"
    with pytest.raises(ConfigError, match=r"holds no genesis\.bin"):
        read_genesis(tmp_path)
    path.write_bytes(b"nonsense")
    with pytest.raises(DecodeError, match=r"genesis\.bin"):
        read_genesis(tmp_path)
    with pytest.raises(ConfigError):
        read_genesis(tmp_path / "nowhere")


def test_a_failed_write_leaves_no_half_of_a_file(tmp_path, monkeypatch):
    def fails(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tallystick.federation.armour.os.fsync", fails)
    with pytest.raises(Exception, match="No space left"):
        write_new(tmp_path / "x", "text")

    assert list(tmp_path.iterdir()) == []


def test_the_published_line_is_the_chain_and_its_hash():
    genesis = trial_network(NAMES, 3, name="heart").genesis

    assert genesis_line(genesis) == f"heart+{genesis_hash(genesis).hex()}"


@pytest.mark.parametrize(
    "folder", ["Heart Study", "x", "-x-", "ß", "a" * 50, "ab" * 15 + "x-y", "..", "2026_07"]
)
def test_a_folder_gives_a_name_that_fits(tmp_path, folder):
    named = structs.replace(trial_network(("a",), 0).genesis, name=name_for(tmp_path / folder))

    assert decode(Genesis, encode(named)) == named


def test_ports_count_up_and_hosts_are_told():
    planned = plan_settings(NAMES, {"north": "node.north.example", "south": "::1"}, 9000)

    assert [(name, each.port) for name, each in planned.items()] == [
        ("east", 9000),
        ("north", 9001),
        ("south", 9002),
    ]
    assert planned["north"].public_url == "https://node.north.example:9001"
    assert planned["south"].public_url == "http://[::1]:9002"
    assert planned["east"].host == "127.0.0.1"


@pytest.mark.parametrize(
    ("hosts", "port", "named"),
    [
        ({"west": "x"}, 9000, "'west', who is no member"),
        ({"north": "http://x"}, 9000, "no host"),
        ({"north": "x:80"}, 9000, "no host"),
        ({"north": "fe80::1%eth0"}, 9000, "no host"),
        ({"north": "a b"}, 9000, "no host"),
        ({}, 65534, "3 ports"),
        ({}, 0, "3 ports"),
    ],
)
def test_hosts_and_ports_that_cannot_be_are_refused(hosts, port, named):
    with pytest.raises(ConfigError, match=named):
        plan_settings(NAMES, hosts, port)


def test_nodes_under_cometbft_know_each_other():
    genesis = structs.replace(trial_network(NAMES, 0).genesis, engine="cometbft")
    planned = plan_settings(NAMES, {"south": "::1"}, 9000, genesis)
    ids = [
        node_id(next(key.public for key in founder.keys if key.role == "validator"))
        for founder in genesis.founders
    ]
    addresses = [
        f"{ids[0]}@127.0.0.1:10000",
        f"{ids[1]}@127.0.0.1:10001",
        f"{ids[2]}@[::1]:10002",
    ]
    urls = [each.public_url for each in planned.values()]

    assert [each.p2p_port for each in planned.values()] == [10000, 10001, 10002]
    assert planned["south"].p2p_host == "::1"
    for number, each in enumerate(planned.values()):
        assert list(each.peers) == [*addresses[:number], *addresses[number + 1 :]]
        assert list(each.nodes) == [*urls[:number], *urls[number + 1 :]]
    assert plan_settings(NAMES, {}, 9000, trial_network(NAMES, 0).genesis) == plan_settings(
        NAMES, {}, 9000
    )


def test_under_cometbft_every_node_needs_two_ports():
    genesis = structs.replace(trial_network(NAMES, 0).genesis, engine="cometbft")

    assert plan_settings(NAMES, {}, 64533, genesis)["south"].p2p_port == 65535
    with pytest.raises(ConfigError, match="as many from 65534 on"):
        plan_settings(NAMES, {}, 64534, genesis)


def test_under_cometbft_every_founder_needs_a_validator_key():
    genesis = structs.replace(trial_network(NAMES, 0).genesis, engine="cometbft")
    first = structs.replace(genesis.founders[0], keys=genesis.founders[0].keys[:1])
    without = structs.replace(genesis, founders=(first, *genesis.founders[1:]))
    with pytest.raises(ConfigError, match="'east' has no validator key"):
        plan_settings(NAMES, {}, 9000, without)
