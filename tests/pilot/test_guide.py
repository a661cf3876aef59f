"""The guide to a first consortium, performed: every command, each organisation on its own."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
from support.guide import Stage, blocks_of, commands_in, files_with, free_port, secrets_in

import tallystick as ts
from tallystick.cli import main

pytestmark = [
    pytest.mark.network,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates"),
    pytest.mark.skipif(shutil.which("bash") is None, reason="the guide's commands are for a shell"),
]

GUIDE = Path(__file__).parents[2] / "docs" / "pilot.md"
NAMES = ("north", "south", "east", "west")
PORT, ROUNDS = "26651", "3"


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """Perform the guide once; whatever it left going is ended."""
    folder = tmp_path_factory.mktemp("guide")
    text = _on_this_machine(GUIDE.read_text(encoding="utf-8"))
    performed = Stage(folder, NAMES)
    try:
        for block in blocks_of(text):
            performed.perform(block)
        performed.wait("join")
        performed.wait("log")
        url = re.search(r"https://localhost:\d+", text)[0]
        performed.unknown = performed.run("west", f"tally status {url}")  # without --ca
        performed.stop("north", "tally node start node")
        yield performed
    finally:
        performed.close()


def test_every_process_ends_well(stage):
    ended = {(each.who, each.command.split()[1]): each.status for each in stage.running}

    assert {key for key in ended if key[1] in {"join", "node"}} == {
        ("north", "node"),
        *((name, "join") for name in NAMES),
    }
    assert set(ended.values()) == {0}, {
        each.who: each.said.read_text() for each in stage.running if each.status
    }


def test_the_pilot_and_its_rehearsal_end_with_one_model(stage, capfd):
    rehearsal = stage.home("north") / "rehearsal"
    capfd.readouterr()
    task = stage.home("north") / "task.toml"
    assert main(["run", str(task), "--out", str(rehearsal), "--json"]) == 0
    rehearsed = json.loads(capfd.readouterr().out)
    (printed,) = stage.found("tally run", r"^model_root +(\w+)$")
    joined = stage.said("tally join", r"^model +([0-9a-f]{64})$")

    assert len(joined) == len(NAMES)
    assert set(joined) == {rehearsed["model_root"]} == {printed}


def test_the_terms_have_one_hash_everywhere(stage):
    hashes = stage.found("tally task", r"^hash +(\w+)$")

    assert len(hashes) == 1


def test_each_sites_accuracy_is_its_rehearsals(stage):
    with (stage.home("north") / "rehearsal" / "metrics.csv").open() as file:
        rehearsed = {(row["round"], row["member"]): row["accuracy"] for row in csv.DictReader(file)}
    for name in NAMES:
        with (stage.home(name) / "keys" / "heart" / "metrics.csv").open() as file:
            last = list(csv.DictReader(file))[-1]

        assert last["round"] == ROUNDS
        assert abs(float(last["accuracy"]) - float(rehearsed[ROUNDS, name])) <= 0.05
        assert float(last["accuracy"]) > 0.8


@pytest.mark.parametrize("name", NAMES)
def test_a_members_bundle_verifies_against_what_was_published(stage, name):
    published = (stage.home("north") / "heart.txt").read_text().strip()
    out = stage.home(name) / "keys" / "heart"
    report = ts.verify(
        out / "run.tally",
        genesis=published.rpartition("+")[2],
        model=out / "model.safetensors",
        replay=True,
    )

    assert report, report.checks


def test_no_secret_is_in_anothers_folder(stage):
    secrets = {name: secrets_in(stage.home(name) / "keys", name) for name in NAMES}
    for name in NAMES:
        others = [each for other in NAMES if other != name for each in secrets[other]]

        assert files_with(stage.home(name), others) == []
    assert files_with(stage.home("north") / "node", secrets["north"]) == []


def test_the_certificate_is_checked(stage):
    assert stage.unknown.returncode == 3
    assert "CERTIFICATE_VERIFY_FAILED" in stage.unknown.stderr


def test_the_guides_blocks_are_all_understood():
    text = GUIDE.read_text(encoding="utf-8")
    kinds = {block.kind for block in blocks_of(text)}
    shown = sum(line.startswith("$ ") for line in text.splitlines())
    performed = sum(len(commands_in(block.body)) for block in blocks_of(text))

    assert kinds == {"console", "send", "python", "toml", "ini"}
    assert shown - performed == 1  # the reader's own trainer, which nobody else has


def _on_this_machine(text):
    """Return the guide with a name, an address and a port that this machine has."""
    for theirs, ours in (
        ("node.north.example", "localhost"),
        ("0.0.0.0", "127.0.0.1"),  # noqa: S104 - what the guide says
        (PORT, str(free_port())),
    ):
        assert theirs in text
        text = text.replace(theirs, ours)
    return text
