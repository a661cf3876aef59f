"""`tally task` over a network: proposed, approved by all, listed, read, closed."""

import numpy as np
import pytest
from safetensors.numpy import save_file
from support.commands import write_task
from support.node_process import NAMES

from tallystick.federation.acting import Acting
from tallystick.federation.proposing import find_task, load_initial
from tallystick.storage.blobs import FileBlobs
from tallystick.storage.lock import Lock
from tallystick.tensors.model import spec_of

TASK = """
name = "{name}"
recipe = "{{recipe}}"
rounds = {{rounds}}

[rosters]
members = ["north", "south"]
"""
SIMULATE = """
[simulate]
trainer = "own_site:Site"
members = ["a"]
"""


@pytest.fixture
def task(tmp_path):
    """Write a task file by name; return its path."""
    return lambda name, more="": write_task(tmp_path / name, text=TASK.format(name=name) + more)


@pytest.fixture
def initial(tmp_path):
    """A model of two chunks to start from."""
    path = tmp_path / "initial.safetensors"
    save_file({"w": np.arange(100_000, dtype=np.float32), "b": np.zeros(3, np.float32)}, path)
    return path


def stands(ask, name):
    """Where a task stands, from blocks executed here."""
    listed = ask("task", "list", None).document["tasks"]
    return next((each for each in listed if each["name"] == name), None)


def test_a_task_is_proposed_approved_and_closed(ask, node, task, initial, tally):
    file = task("heart")
    propose = ("task", "propose", None, file, "--initial", initial)
    dry = ask(*propose, "--terms-only", by="north").document
    absent = stands(ask, "heart")
    first = ask(*propose, by="north").document
    again = ask(*propose, by="north").document

    assert absent is None
    assert (dry["proposed"], first["proposed"], first["proposed_before"]) == (False, True, False)
    assert again["proposed_before"] is True
    assert dry["hash"] == first["hash"] == again["hash"] == stands(ask, "heart")["id"]
    assert first["terms"]["model"]["root"] == spec_of(load_initial(initial)).root.hex()
    assert stands(ask, "heart")["members"] == ["north", "south"]

    stranger = ask("task", "approve", None, "heart", by="east")
    sealed = ask("task", "approve", None, "heart", by="south").document
    early = ask("task", "approve", None, "heart", by="south").document
    last = ask("task", "approve", None, "heart", by="north").document
    revealed = ask("task", "approve", None, "heart", "--wait", 5, by="south").document
    types = [line.split() for line in tally("log", f"{node.url}#heart").out.splitlines()]

    assert stranger.status == 2
    assert (sealed["approval"], sealed["waits_for"]) == ("sealed", ["north"])
    assert early["approval"] == "sealed"
    assert (last["approval"], last["waits_for"]) == ("revealed", ["south"])
    assert revealed["approval"] == "revealed"
    sent = sorted(words[4:6] for words in types if words[4] in {"seal", "opinion", "reveal"})
    assert len([words for words in types if words[4] == "seal"]) == 2
    assert all(words[3] == "approve" for words in types if words[4] == "seal"), sent
    assert ask("task", "approve", None, "heart", by="south").document["approval"] == "revealed"

    assert ask("task", "close", None, "heart", by="south").error["code"] == "not-owner"
    for _ in range(2):
        assert ask("task", "close", None, "heart", by="north").document["closing"] is True
    assert stands(ask, "heart")["closing"] is True


def test_what_everybody_starts_from_is_taken_from_the_file_or_asked_for(ask, task, tally, node):
    missing = ask("task", "propose", None, task("nothing"), by="south")
    simulated = ask("task", "propose", None, task("lung", SIMULATE), by="south").document
    shown = ask("task", "show", None, "lung").document
    other = ask("task", "propose", None, task("lung", SIMULATE + 'path = "."'), by="east")
    people = tally("task", "show", node.url, "lung")

    assert missing.status == 2
    assert "--initial" in missing.error["hint"]
    assert shown["hash"] == simulated["hash"]
    assert shown["terms"] == simulated["terms"]
    assert shown["terms"]["model"]["parameters"][0]["name"] == "w"
    assert shown["task"]["owner"] == "south"
    assert other.error["code"] == "bad-terms"
    assert f"hash     {shown['hash']}" in people.out


def test_a_name_chooses_among_several_tasks(ask, task, node, tally):
    for name in ("one", "two"):
        assert ask("task", "propose", None, task(name, SIMULATE), by="north").status == 0
    ambiguous = tally("explain", node.url)
    unknown = tally("log", f"{node.url}#three")
    said = tally("explain", f"{node.url}#two", "--json").document

    assert (ambiguous.status, unknown.status) == (2, 2)
    assert "one, two" in unknown.err.replace("heart, ", "").replace("lung, ", "")
    assert "URL#NAME" in ambiguous.err
    assert said["format"] == "tally.explain/1"
    assert "'two'" in tally("explain", f"{node.url}#two").out


def test_a_member_that_runs_approves_itself(ask, node, task):
    assert ask("task", "propose", None, task("busy", SIMULATE), by="east").status == 0
    lock = Lock(node.key("north") / "member")
    ran = ask("task", "approve", None, "busy", by="north")
    lock.close()

    assert ran.status == 3
    assert "in use" in ran.error["message"]


def test_a_blob_that_came_in_part_goes_on_from_there(ask, node, task, initial, tmp_path):
    propose = ("task", "propose", None, task("part"), "--initial", initial)
    assert ask(*propose, by="south").status == 0
    spec = spec_of(load_initial(initial))
    blobs = FileBlobs(tmp_path / "blobs")
    whole = FileBlobs(node.key("south") / "member" / "blobs").open(spec.root)
    blobs.part(spec.root).write_bytes(whole[: 1 << 18].tobytes() + b"wrong")
    with Acting.open([node.url], key_folder=node.key("south"), role="worker") as acting:
        received = acting.client.received
        acting.transfers(blobs).download(find_task(acting.state, "part"), spec.root, spec.size)
        received = acting.client.received - received

    assert blobs.has(spec.root)
    assert spec.size - (1 << 18) <= received < spec.size - (1 << 18) + 1000


def test_members_by_default_are_all_of_the_ledgers(ask, task, tmp_path):
    file = task("everybody", SIMULATE)
    text = file.read_text(encoding="utf-8").replace('[rosters]\nmembers = ["north", "south"]\n', "")
    file.write_text(text, encoding="utf-8")
    made = ask("task", "propose", None, file, "--terms-only", by="south").document

    assert made["terms"]["rosters"] == [{"name": "members", "members": list(NAMES)}]
