"""`tally network`: from cards to a genesis and settings, once; and the line to publish."""

import pytest
from msgspec import structs

from tallystick.codec import encode
from tallystick.federation.armour import armour
from tallystick.federation.card import load_card, make_card
from tallystick.federation.key_file import load_keyring
from tallystick.federation.keyring import new_keyring
from tallystick.federation.network_folder import read_genesis
from tallystick.federation.settings import NodeSettings
from tallystick.federation.trial import simulated_genesis
from tallystick.ledger.genesis import genesis_hash


@pytest.fixture
def cards(tally, tmp_path):
    """The cards of three members."""
    for name in ("south", "north", "east"):
        assert tally("key", "new", name, "--out", tmp_path / name).status == 0
    return [tmp_path / name / f"{name}.card" for name in ("south", "north", "east")]


def test_init_writes_a_genesis_and_settings_without_secrets(tally, tmp_path, cards):
    folder = tmp_path / "Heart Study"
    ran = tally("network", "init", folder, *cards, "--json")
    document, genesis = ran.document, read_genesis(folder)

    assert ran.status == 0
    assert (document["format"], document["ok"]) == ("tally.network/1", True)
    assert document["line"] == f"heart-study+{genesis_hash(genesis).hex()}"
    assert document["genesis"] == genesis_hash(genesis).hex()
    assert (document["chain"], document["engine"], document["sealer"]) == (
        "heart-study",
        "solo",
        "south",
    )
    assert document["trial"] is genesis.trial is False
    assert document["files"] == {"out": str(folder), "genesis": str(folder / "genesis.bin")}
    assert [each["name"] for each in document["members"]] == ["east", "north", "south"]
    assert [each["port"] for each in document["members"]] == [26650, 26651, 26652]
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*")) == [
        "east/node.toml",
        "genesis.bin",
        "north/node.toml",
        "south/node.toml",
    ]
    for card in map(load_card, cards):
        (founder,) = [each for each in genesis.founders if each.id == card.name]
        assert founder.keys == card.keys


def test_options_reach_genesis_and_settings(tally, tmp_path, cards):
    hosts = ("--host", "north=node.north.example", "--host", "east=10.0.0.7")
    options = (*hosts, "--base-port", 9000, "--name", "heart", "--sealer", "east")
    ran = tally("network", "init", tmp_path / "net", *cards, *options)
    settings = {
        name: NodeSettings.load(tmp_path / "net" / name / "node.toml")
        for name in ("east", "north", "south")
    }

    assert ran.status == 0
    assert (settings["east"].host, settings["east"].port) == ("10.0.0.7", 9000)
    assert settings["north"].public_url == "https://node.north.example:9001"
    assert settings["south"].public_url == "http://127.0.0.1:9002"
    assert read_genesis(tmp_path / "net").sealer == "east"
    assert ran.out.splitlines()[-1].startswith("heart+")


def test_people_see_the_fingerprints_that_members_read_to_them(tally, tmp_path, cards):
    ran = tally("network", "init", tmp_path / "net", *cards)
    shown = tally("network", "card", tmp_path / "net", "--json").document

    for name, member in zip(("east", "north", "south"), shown["members"], strict=True):
        own = tally("key", "show", tmp_path / name, "--json").document["fingerprint"]
        assert own in ran.out
        assert member == {"name": name, "fingerprint": own}


def test_card_prints_the_line_to_publish_and_nothing_else(tally, tmp_path, cards):
    line = tally("network", "init", tmp_path / "net", *cards, "--json").document["line"]

    for source in (tmp_path / "net", tmp_path / "net" / "genesis.bin"):
        ran = tally("network", "card", source)
        assert (ran.status, ran.out) == (0, line + "\n")
        assert tally("network", "card", source, "--json").document["line"] == line


def test_card_reads_the_folder_of_a_run(tally, finished, genesis):
    assert tally("network", "card", finished).out == f"simulation+{genesis}\n"


def test_a_network_is_founded_once(tally, tmp_path, cards):
    folder = tmp_path / "net"
    tally("network", "init", folder, *cards)
    before = (folder / "genesis.bin").read_bytes()
    for arguments in (cards, ("--trial", "a,b")):
        ran = tally("network", "init", folder, *arguments, "--json")
        assert ran.status == 2
        assert "holds a network already" in ran.error["message"]

    assert (folder / "genesis.bin").read_bytes() == before


def test_a_trial_is_complete_and_the_simulations(tally, tmp_path):
    folder = tmp_path / "try-it"
    ran = tally("network", "init", folder, "--trial", "c, a,b", "--seed", 4, "--json")
    genesis = read_genesis(folder)

    assert ran.status == 0
    assert ran.document["trial"] is True
    assert ran.document["line"] == f"try-it+{genesis_hash(genesis).hex()}"
    assert genesis == simulated_genesis("try-it", ("a", "b", "c"), 4)
    for member in ran.document["members"]:
        home = folder / member["name"]
        assert member["key"] == str(home)
        assert load_card(home / f"{home.name}.card") == make_card(load_keyring(home))
    assert "trial" in tally("network", "init", tmp_path / "other", "--trial", "a").out


def test_under_cometbft_all_founders_order_together(tally, tmp_path):
    trial = ("--trial", "west,east,north,south", "--engine", "cometbft")
    ran = tally("network", "init", tmp_path / "net", *trial)
    shown = tally("network", "card", tmp_path / "net", "--json").document

    assert ran.status == 0
    assert "ordered   by east, north, south, west together; any 1 of 4 may fail or lie" in ran.out
    assert ran.err == ""
    assert (shown["engine"], shown["sealer"]) == ("cometbft", "")
    assert shown["validators"] == ["east", "north", "south", "west"]


def test_fewer_than_four_are_told_that_none_may_fail(tally, tmp_path, cards):
    ran = tally("network", "init", tmp_path / "net", *cards, "--engine", "cometbft")
    alone = tally("network", "init", tmp_path / "one", "--trial", "a", "--engine", "cometbft")

    assert ran.status == alone.status == 0
    assert "ordered   by east, north, south together\n" in ran.out
    assert "3 validators tolerate no fault" in ran.err
    assert "ordered   by a alone\n" in alone.out
    assert "one validator tolerates no fault" in alone.err


def test_the_same_seed_is_the_same_network(tally, tmp_path):
    lines = [
        tally("network", "init", tmp_path / str(n) / "net", "--trial", "a,b", *seed).out
        for n, seed in enumerate([(), ("--seed", 0), ("--seed", 1)])
    ]
    last = [text.splitlines()[-1] for text in lines]

    assert last[0] == last[1] != last[2]


WRONG = [
    ((), "cards of its founders"),
    (("--trial", "a,b", "CARD"), "takes no cards"),
    (("CARD", "--seed", 1), "--seed"),
    (("CARD", "--engine", "cometbft", "--sealer", "south"), "'south' cannot seal"),
    (("--trial", "a,b", "--engine", "cometbft", "--sealer", "a"), "'a' cannot seal"),
    (("--trial", "a,b", "--engine", "pow"), "engine 'pow'"),
    (("CARD", "--engine", "nope"), "nope"),
    (("CARD", "--sealer", "west"), "west"),
    (("CARD", "--name", "Nope!"), "Nope!"),
    (("CARD", "--host", "south"), "NAME=HOST"),
    (("CARD", "--host", "west=x"), "west"),
    (("CARD", "--host", "south=x", "--host", "south=y"), "two hosts"),
    (("CARD", "--host", "south=http://x"), "no host"),
    (("CARD", "--base-port", 70000), "70000"),
    (("CARD", "CARD"), "two cards, the same one"),
    (("nowhere.card",), "nowhere.card"),
    (("--trial", "a,,b"), "member name ''"),
    (("--trial", "a,a"), "named twice"),
    (("--trial", "a", "--seed", "x"), "--seed"),
]


@pytest.mark.parametrize(("arguments", "named"), WRONG, ids=[str(row[0]) for row in WRONG])
def test_bad_input_is_status_2_named_and_writes_nothing(tally, tmp_path, cards, arguments, named):
    given = [cards[0] if each == "CARD" else each for each in arguments]
    ran = tally("network", "init", tmp_path / "net", *given, "--json")

    assert ran.status == 2
    assert named in ran.error["message"]
    assert ran.error["hint"]
    assert not (tmp_path / "net").exists()


def test_two_cards_of_one_name_are_refused(tally, tmp_path, cards):
    tally("key", "new", "south", "--out", tmp_path / "impostor")
    impostor = tmp_path / "impostor" / "south.card"
    ran = tally("network", "init", tmp_path / "net", *cards, impostor, "--json")

    assert ran.status == 2
    assert "'south' has two cards, with different keys" in ran.error["message"]


def test_a_damaged_card_is_status_2_and_a_lying_one_status_1(tally, tmp_path, cards):
    damaged, lying = tmp_path / "damaged.card", tmp_path / "lying.card"
    damaged.write_bytes(cards[0].read_bytes()[:-3])
    own, other = load_card(cards[0]), make_card(new_keyring("x"))
    forged = structs.replace(own, keys=(*own.keys[:2], other.keys[2]))
    lying.write_text(armour("tally-card-1", "south", encode(forged)))
    for path, status, code in ((damaged, 2, "malformed"), (lying, 1, "verification-failed")):
        ran = tally("network", "init", tmp_path / "net", path, "--json")
        assert (ran.status, ran.error["code"]) == (status, code)
        assert str(path) in ran.error["message"]

    assert not (tmp_path / "net").exists()


@pytest.mark.parametrize(
    "source", ["nowhere", "http://node.example:1", "https://node.example:port"]
)
def test_card_of_what_is_no_network_is_status_2(tally, source):
    ran = tally("network", "card", source, "--json")

    assert ran.status == 2
    assert source in ran.error["message"]
