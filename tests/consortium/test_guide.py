"""The guide to a consortium, performed: four nodes, a task, a fifth, a lost one, one removed."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from support.guide import Stage, blocks_of, commands_in, files_with, secrets_in

import tallystick as ts
from tallystick.consensus.cometbft.binary import VARIABLE, find_binary
from tallystick.errors import TallyError
from tallystick.federation.settings import P2P_OFFSET
from tallystick.lab.consortium import free_ports

pytestmark = [
    pytest.mark.network,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates"),
    pytest.mark.skipif(shutil.which("bash") is None, reason="the guide's commands are for a shell"),
]

GUIDE = Path(__file__).parents[2] / "docs" / "consortium.md"
FOUNDERS = ("north", "south", "east", "west")
NEWCOMER, REMOVED = "centre", "east"
NAMES = (*FOUNDERS, NEWCOMER)
FIRST_PORT = 26650
HOST = "LOCALHOST"  # in small letters it needs no TLS
SNAPSHOT_BLOCKS = 10
SECONDS = 240


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """Perform the guide once; whatever it left going is ended."""
    try:
        binary = find_binary()
    except TallyError as error:
        pytest.skip(str(error))
    base = free_ports(len(NAMES))
    nodes = {
        name: f"https://{HOST}:{base + place}"
        for place, name in enumerate((*sorted(FOUNDERS), NEWCOMER))
    }
    variables = {name: {"NODE": nodes[name], VARIABLE: str(binary.path)} for name in NAMES}
    performed = Stage(
        tmp_path_factory.mktemp("guide"), FOUNDERS, (NEWCOMER,), variables, seconds=SECONDS
    )
    performed.nodes = nodes
    try:
        for block in blocks_of(_on_this_machine(GUIDE.read_text(encoding="utf-8"), base)):
            performed.perform(block)
        yield performed
    finally:
        performed.close()


def test_every_process_ends_well(stage):
    ended = [(each.who, each.command.split()[1], each.status) for each in stage.running]

    assert sorted(ended) == sorted(
        [(name, "node", 0) for name in (*NAMES, "west")] + [(name, "join", 0) for name in FOUNDERS]
    ), {each.who: each.said.read_text() for each in stage.running if each.status}


def test_four_nodes_end_with_the_model_of_one_process(stage):
    (rehearsed,) = stage.found("tally run", r"^model_root +(\w+)$")
    joined = stage.said("tally join", r"^model +([0-9a-f]{64})$")

    assert joined == [rehearsed] * len(FOUNDERS)


@pytest.mark.parametrize("name", FOUNDERS)
def test_each_members_bundle_verifies_against_what_was_published(stage, name):
    published = (stage.home("north") / "heart.txt").read_text().strip()
    out = stage.home(name) / "keys" / "heart"
    report = ts.verify(
        out / "run.tally",
        genesis=published.rpartition("+")[2],
        model=out / "model.safetensors",
        replay=True,
    )
    finality = next(each for each in report.checks if each.id == "finality")

    assert report, report.checks
    assert "of 4 validators" in finality.says


def test_nodes_at_one_height_have_one_state(stage):
    said = _statuses(stage)

    assert set(said) == set(NAMES) - {REMOVED}
    assert len({each["state_root"] for each in said.values()}) == 1
    assert {each["genesis"] for each in said.values()} == {said["north"]["genesis"]}


def test_the_newcomer_is_seated_and_the_removed_is_not(stage):
    said = _statuses(stage)

    for each in said.values():
        assert each["validators"] == sorted(set(NAMES) - {REMOVED})
        assert each["members"] == each["validators"]


def test_the_newcomer_began_with_a_snapshot_and_has_the_whole_history(stage):
    (log,) = (each.said.read_text() for each in stage.running if each.who == NEWCOMER)
    said = _statuses(stage)[NEWCOMER]

    assert "beginning with a state of height" in log
    assert (said["catching_up"], said["history_from"]) == (False, 1)


def test_a_node_made_again_votes_with_its_new_key(stage):
    signer = stage.home("west") / "node" / "cometbft" / "config" / "priv_validator_key.json"
    (rotated,) = stage.found("tally member rotate", r"^validator +([0-9a-f]{64}) ")

    assert ts_public(signer) == rotated
    assert _statuses(stage)["west"]["accused"] == []


def test_no_secret_is_in_anothers_folder(stage):
    secrets = {name: secrets_in(stage.home(name) / "keys", name) for name in NAMES}
    for name in NAMES:
        others = [each for other in NAMES if other != name for each in secrets[other]]

        assert files_with(stage.home(name), others) == []


def test_the_guides_blocks_are_all_understood():
    text = GUIDE.read_text(encoding="utf-8")
    kinds = {block.kind for block in blocks_of(text)}
    shown = sum(line.startswith("$ ") for line in text.splitlines())
    performed = sum(len(commands_in(block.body)) for block in blocks_of(text))

    assert kinds == {"console", "send", "stop", "python", "toml", "ini"}
    assert (
        shown - performed == 4
    )  # another's CometBFT, an upgrade that does not exist, one key twice


def ts_public(signer):
    """Return the public key in a file that CometBFT votes with, in hex."""
    import base64  # noqa: PLC0415

    return base64.b64decode(json.loads(signer.read_text())["pub_key"]["value"]).hex()


def _statuses(stage):
    """Return what each node said of itself at the end."""
    return {
        name: json.loads(out)
        for (name, command), out in stage.outputs.items()
        if command == "tally status $NODE --ca ca.pem --json"
    }


def _on_this_machine(text, base):
    """Return the guide with a host, ports and a CometBFT that this machine has."""
    text = re.sub(r"node\.(?:\w+|\$NAME)\.example", HOST, text)
    for place in range(len(NAMES)):
        for offset in (0, P2P_OFFSET):
            text = text.replace(str(FIRST_PORT + offset + place), str(base + offset + place))
    for theirs, ours in (
        ("0.0.0.0", "127.0.0.1"),  # noqa: S104 - what the guide says
        ("tally network engine --install", "tally network engine"),
        ("tally network init heart ", f"tally network init heart --base-port {base} "),
        ("snapshot_blocks = 500", f"snapshot_blocks = {SNAPSHOT_BLOCKS}"),
    ):
        assert theirs in text
        text = text.replace(theirs, ours)
    return text
