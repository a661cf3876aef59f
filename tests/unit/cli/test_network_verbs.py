"""Verbs at a node: status, members and their keys, and reading a ledger one does not believe."""

import shutil
from types import SimpleNamespace

import pytest
from support.node_process import NAMES

from tallystick.codec import encode
from tallystick.consensus.client import NodeClient
from tallystick.federation.acting import Acting
from tallystick.federation.key_file import add_secret, load_keyring
from tallystick.federation.network_folder import genesis_line, read_genesis
from tallystick.federation.trial import simulated_genesis
from tallystick.ledger.genesis import genesis_hash
from tallystick.storage.sqlite import LedgerStore

OTHER = "ab" * 32


def listed(ask):
    document = ask("member", "list", None).document
    return {each["name"]: each for each in document["members"]}, document["proposals"]


def test_status_has_every_field_of_the_contract(ask, node):
    ran = ask("status", None)
    genesis = read_genesis(node.network)

    assert ran.status == 0
    assert ran.document["format"] == "tally.status/1"
    assert ran.document["ok"] is True
    assert ran.document["genesis"] == genesis_hash(genesis).hex()
    assert ran.document["validators"] == ["north"]
    assert set(ran.document) >= {
        *("chain_id", "height", "state_root", "peers", "engine", "catching_up", "tasks")
    }


def test_status_tells_people_who_is_there(tally, node):
    ran = tally("status", node.url)

    assert ran.status == 0
    assert ran.out.startswith(f"ledger    {genesis_line(read_genesis(node.network))}")
    assert all(f"member    {name}" in ran.out for name in NAMES)


def test_what_does_not_answer_is_not_available_now(tally):
    for verb in (("status",), ("member", "list"), ("task", "list"), ("log",), ("network", "card")):
        ran = tally(*verb, "http://127.0.0.1:1")
        assert ran.status == 3
        assert "no node answers" in ran.err


def test_a_wrong_genesis_is_refused_before_anything_is_said(ask, node):
    before = ask("status", None).document["height"]
    for words in (
        ("status", None),
        ("member", "list", None),
        ("task", "list", None),
        ("log", None),
    ):
        assert ask(*words, "--genesis", OTHER).status == 1
    refused = ask("member", "propose", None, "--grant", "north=5", "--genesis", OTHER, by="south")

    assert refused.status == 1
    assert refused.error["code"] == "verification-failed"
    assert ask("status", None).document["height"] == before
    assert ask("member", "list", None, "--genesis", node.network / "genesis.bin").status == 0
    assert ask("member", "list", None, "--genesis", "not-a-file").status == 2


def test_a_genesis_taken_on_the_nodes_word_is_said_and_then_remembered(tally, node, tmp_path):
    line = genesis_line(read_genesis(node.network))
    assert tally("key", "new", "stranger", "--out", tmp_path / "stranger").status == 0
    notes = [
        tally("member", "approve", node.url, OTHER, "--key", tmp_path / "stranger").err
        for _ in range(2)
    ]

    assert line in notes[0]
    assert line not in notes[1]
    assert tally("network", "card", node.url).out == line + "\n"


def test_a_member_is_admitted_by_votes_and_removed_by_votes(ask, tally, tmp_path):
    key = tmp_path / "west"
    assert tally("key", "new", "west", "--out", key).status == 0
    shown = tally("key", "show", key, "--json").document["fingerprint"]
    admit = ("member", "propose", None, "--admit", key / "west.card")
    early = ask("member", "rotate", None, by=key)
    first = ask(*admit, by="north").document
    again = ask(*admit, by="north").document
    second = ask("member", "approve", None, "west", by="south").document
    last = ask("member", "approve", None, first["proposal"]["id"], by="east").document
    members, proposals = listed(ask)

    assert (early.status, early.error["code"]) == (2, "bad-input")
    assert (first["decided"], first["proposal"]["votes"]) == (False, ["north"])
    assert first["proposal"]["needed"] == 3
    assert again["voted_before"] is True
    assert second["proposal"]["votes"] == ["north", "south"]
    assert last["decided"] is True
    assert members["west"]["fingerprint"] == shown
    assert all(each["valid"] for each in members["west"]["keys"])
    assert proposals == []

    decided = [ask("member", "remove", None, "west", by=name).document["decided"] for name in NAMES]
    removed = ask("member", "propose", None, "--grant", "west=1", by=key)

    assert decided == [False, False, True]
    assert (removed.status, removed.error["code"]) == (2, "bad-input")
    assert "removed" in removed.error["message"]
    assert listed(ask)[0]["west"]["active"] is False
    assert ask(*admit, by="north").error["code"] == "membership"


def test_a_proposal_is_one_change_and_there_has_to_be_one_to_approve(ask):
    wrong = [
        *((), ("--remove", "east", "--grant", "east=1"), ("--seat", "east", "--unseat", "east")),
        *(("--grant", f"east={micros}") for micros in ("much", "0", 2**62 + 1, "0" * 20 + "1")),
        *(("--upgrade", text) for text in ("2", "2@", "@5", "256@5", "0@5", f"2@{2**63}", "a@b")),
    ]
    for words in wrong:
        assert ask("member", "propose", None, *words, by="north").status == 2
    assert ask("member", "approve", None, "east", by="north").status == 2
    assert ask("member", "approve", None, OTHER, by="north").status == 2
    assert ask("member", "remove", None, "north", by="south").error["code"] == "membership"
    assert ask("member", "rotate", None, "--role", "king", by="south").status == 2


def test_an_upgrade_is_voted_on_and_listed(ask, tally, node):
    upgrade = ("member", "propose", None, "--upgrade", "2@1000000")
    first = ask(*upgrade, by="north").document
    told = tally("member", "list", node.url).out
    for name in ("south", "east"):
        last = ask("member", "approve", None, first["proposal"]["id"], by=name).document
    document = ask("member", "list", None).document

    assert (first["proposal"]["version"], first["proposal"]["height"]) == (2, 1_000_000)
    assert "protocol version 2 after block 1000000, 1 of 3 votes: north" in told
    assert last["decided"] is True
    assert document["protocol"] == 1
    assert document["upgrades"] == [{"version": 2, "height": 1_000_000}]
    decided = "protocol  version 2 after block 1000000, decided"
    assert decided in tally("member", "list", node.url).out


def test_seats_are_voted_on_only_where_validators_order(ask):
    for flag in ("--seat", "--unseat"):
        ran = ask("member", "propose", None, flag, "east", by="north")
        assert ran.status != 0
        assert ran.error["code"] == "membership"

    assert [each["validates"] for each in listed(ask)[0].values()] == [False] * len(listed(ask)[0])


def test_a_rotated_key_acts_and_the_old_one_does_not(ask, node):
    before = load_keyring(node.key("east"))
    for role in ("worker", "owner", "validator"):
        rotated = ask("member", "rotate", None, "--role", role, by="east")
        assert rotated.status == 0
        assert rotated.document["public"] == load_keyring(node.key("east")).public(role).hex()
        assert rotated.document["seals"] is False
    keys = listed(ask)[0]["east"]["keys"]

    assert [each["valid"] for each in keys] == [False] * 3 + [True] * 3
    assert len(load_keyring(node.key("east")).owner) == len(before.owner) + 1
    assert ask("member", "rotate", None, by="east").status == 0


def test_an_interrupted_rotation_is_finished_with_the_secret_it_made(ask, node):
    folder = node.key("south")
    made = add_secret(folder, "owner")  # and then it was interrupted
    finished = ask("member", "rotate", None, "--role", "owner", by="south")
    keyring = load_keyring(folder)

    assert finished.document["public"] == made.public("owner").hex()
    assert keyring == made
    assert ask("member", "rotate", None, "--role", "owner", by="south").status == 0
    assert len(load_keyring(folder).owner) == len(keyring.owner) + 1
    assert ask("member", "propose", None, "--grant", "south=7", by="south").status == 0


def test_a_key_folder_does_not_act_on_another_ledger_than_before(ask, node, tmp_path):
    key = tmp_path / "south"
    shutil.copytree(node.key("south"), key)
    (key / "member" / "tool.db").unlink(missing_ok=True)
    (key / "member").mkdir(exist_ok=True)
    store = LedgerStore(key / "member" / "tool.db")
    store.set_fact("genesis", encode(simulated_genesis("other", NAMES, 7)))
    store.close()
    ran = ask("member", "propose", None, "--grant", "south=5", by=key)

    assert ran.status == 1
    assert "serves the ledger net+" in ran.error["message"]


def test_one_verb_at_a_time_acts_for_a_key_folder_and_anybody_reads(ask, node):
    with Acting.open([node.url], key_folder=node.key("south")):
        ran = ask("member", "propose", None, "--grant", "south=6", by="south")
        reading = ask("member", "list", None)

    assert ran.status == 3
    assert "in use" in ran.error["message"]
    assert reading.status == 0


def test_reading_takes_no_node_for_what_is_none(tally, finished):
    assert tally("log", finished, "--genesis", OTHER).status == 2
    assert tally("explain", finished, "--proxy", "http://127.0.0.1:1").status == 2
    assert tally("status", "http://127.0.0.1:none").status == 2
    assert tally("status", "http://north.example").status == 2


STATUS = {
    "format": "tally.status/1",
    "ok": True,
    "chain_id": "net",
    "genesis": "00",
    "height": 1,
    "time": 1,
    "state_root": "00",
    "validators": ["north"],
    "peers": [],
    "engine": "cometbft",
    "catching_up": True,
    "history_from": 9,
    "tasks": [{}],
    "members": ["north", 7],
    "seen": {"north": -(10**400), "7": []},
    "missing": [None],
    "accused": [{}],
    "upgrades": [[2, 50]],
    "failure": "",
}
ODD = [
    {"upgrades": [1]},
    {"upgrades": [[1]]},
    {"upgrades": [[1, "2"]]},
    {"accused": ["north"]},
    {"history_from": "9"},
    {"height": "1"},
    {"tasks": None},
]


@pytest.fixture
def answering(monkeypatch):
    """Let whoever is asked answer what a test likes."""

    def let(document):
        answer = SimpleNamespace(document=lambda: dict(document))
        monkeypatch.setattr(NodeClient, "ask", lambda *_, **__: answer)

    return let


def test_a_status_of_another_form_is_to_be_asked_for_again(tally, answering):
    answering(STATUS)
    assert tally("status", "http://127.0.0.1:1").status == 0
    for odd in ODD:
        answering(STATUS | odd)
        ran = tally("status", "http://127.0.0.1:1")

        assert ran.status == 3, odd
        assert next(iter(odd)) in ran.err
