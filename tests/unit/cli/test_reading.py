"""Verbs that read: verify, explain, log; whole files, damaged ones, runs under way."""

import json
import random
import shutil

import pytest
from support.commands import start, write_task

from tallystick.consensus.solo import Solo
from tallystick.provenance.writing import write_bundle
from tallystick.storage.sqlite import LedgerStore


@pytest.fixture
def bundle(finished):
    return finished / "run.tally"


def test_a_whole_bundle_is_true(tally, bundle, finished, genesis):
    model = finished / "model.safetensors"
    ran = tally("verify", bundle, "--genesis", genesis, "--model", model, "--replay", "--json")
    document = ran.document

    assert ran.status == 0
    assert document["format"] == "tally.verify/1"
    assert document["ok"] is True
    assert document["trial"] is True
    assert [check["id"] for check in document["checks"]] == [
        "bundle-format",
        "genesis",
        "finality",
        "history",
        "state",
        "closing-signatures",
        "model-file",
        "replay",
    ]


def test_people_read_every_check(tally, bundle, genesis):
    ran = tally("verify", bundle, "--genesis", genesis)

    assert ran.status == 0
    assert "closing-signatures" in ran.out
    assert "every check holds" in ran.out


def test_without_a_genesis_the_message_says_where_trust_comes_from(tally, bundle):
    ran = tally("verify", bundle, "--json")

    assert ran.status == 2
    assert "--genesis" in ran.error["message"]
    assert "tally network card" in ran.error["hint"]


@pytest.mark.parametrize("pad", [" ", "\n", " " * 300, "\t\r\n"])
def test_white_space_around_the_genesis_does_not_matter(tally, bundle, genesis, pad):
    ran = tally("verify", bundle, "--genesis", f"{pad}{genesis}{pad}", "--json")

    assert ran.document["ok"]


def test_a_genesis_beside_the_bundle_is_remarked_on(tally, bundle, finished):
    ran = tally("verify", bundle, "--genesis", finished / "genesis.bin", "--json")

    assert ran.document["ok"]
    assert "beside the bundle" in ran.err


def test_another_genesis_is_false(tally, bundle):
    ran = tally("verify", bundle, "--genesis", "0" * 64, "--json")

    assert ran.status == 1
    assert ran.document["ok"] is False
    assert ran.document["checks"][-1]["id"] == "genesis"


@pytest.mark.parametrize(
    ("options", "failing"),
    [
        (["--min-signers", "5"], "closing-signatures"),
        (["--includes", "0" * 64], "includes"),
    ],
)
def test_a_claim_that_does_not_hold_is_status_1(tally, bundle, genesis, options, failing):
    ran = tally("verify", bundle, "--genesis", genesis, *options, "--json")
    failed = [check["id"] for check in ran.document["checks"] if not check["ok"]]

    assert ran.status == 1
    assert failed == [failing]


def test_what_was_never_sent_is_excluded(tally, bundle, genesis):
    assert tally("verify", bundle, "--genesis", genesis, "--excludes", "0" * 64).status == 0


def test_another_model_is_false(tally, bundle, finished, genesis, tmp_path):
    data = bytearray((finished / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "m.safetensors").write_bytes(data)
    ran = tally(
        "verify", bundle, "--genesis", genesis, "--model", tmp_path / "m.safetensors", "--json"
    )

    assert ran.status == 1
    assert [check["id"] for check in ran.document["checks"] if not check["ok"]] == ["model-file"]


def test_any_altered_or_missing_byte_is_never_true(tally, bundle, genesis, tmp_path):
    data = bundle.read_bytes()
    dice = random.Random(0)
    for turn in range(30):
        damaged = bytearray(data)
        if turn % 3 == 0:
            del damaged[dice.randrange(len(data)) :]
        else:
            damaged[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        path = tmp_path / f"{turn}.tally"
        path.write_bytes(damaged)
        ran = tally("verify", path, "--genesis", genesis, "--replay", "--json")

        assert ran.status in {1, 2}
        assert ran.document["ok"] is False
        for verb in ("explain", "log"):
            assert tally(verb, path, "--json").status in {0, 1, 2}


def test_a_replay_without_the_updates_says_which_are_missing(tally, genesis, finished, tmp_path):
    shutil.copy(finished / "ledger.db", tmp_path)
    task = bytes.fromhex(json.loads((finished / "run.json").read_text())["terms"])
    engine = Solo(LedgerStore(tmp_path / "ledger.db"))
    write_bundle(tmp_path / "thin.tally", engine, task)
    engine.close()
    options = ("--genesis", genesis, "--replay")
    alone = tally("verify", tmp_path / "thin.tally", *options, "--json")
    helped = tally("verify", tmp_path / "thin.tally", *options, "--blobs", finished / "blobs")

    assert alone.status == 2
    assert alone.error["code"] == "blobs-missing"
    assert helped.status == 0


@pytest.mark.parametrize("place", ["run.tally", "."])
def test_explain_names_block_record_and_evidence(tally, finished, place):
    ran = tally("explain", finished / place, "--json")
    document = ran.document

    assert ran.status == 0
    assert document["format"] == "tally.explain/1"
    assert document["about"] == {"kind": "task", "name": "tiny"}
    assert all({"says", "height", "record", "evidence"} <= set(s) for s in document["statements"])


def test_explain_tells_what_a_member_did_and_what_became_of_its_update(tally, finished):
    bundle = finished / "run.tally"
    records = tally("log", bundle, "--type", "artefact", "--member", "west", "--json").out
    root = json.loads(records.splitlines()[-1])["root"]
    ended = tally("log", bundle, "--type", "round-ended", "--json").out.splitlines()[-1]
    model = json.loads(ended)["model"]["root"]

    assert "west" in tally("explain", bundle, "--member", "west").out
    assert tally("explain", bundle, "--update", root).status == 0
    assert tally("explain", bundle, "--update", "0" * 64).status == 2
    assert tally("explain", bundle, "--update", model).status == 2
    assert tally("explain", bundle, "--member", "nobody").status == 2
    assert tally("explain", bundle, "--member", "west", "--update", root).status == 2


def test_explain_writes_a_page(tally, finished, tmp_path):
    ran = tally("explain", finished, "--html", tmp_path / "x.html", "--json")

    assert ran.document["html"] == str(tmp_path / "x.html")
    assert (tmp_path / "x.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_the_log_is_one_document_a_line_and_the_same_from_bundle_and_folder(tally, finished):
    of_bundle = tally("log", finished / "run.tally", "--json").out
    of_folder = tally("log", finished, "--json").out
    records = [json.loads(line) for line in of_bundle.splitlines()]

    assert of_bundle == of_folder
    assert {record["format"] for record in records} == {"tally.log/1"}
    assert records[0]["type"] == "proposal"
    assert records[-1]["type"] == "finished"


def test_the_log_can_be_narrowed(tally, finished):
    def asked(*options):
        lines = tally("log", finished, *options, "--json").out.splitlines()
        return [json.loads(line) for line in lines]

    assert {record["round"] for record in asked("--round", 2)} == {2}
    assert {record["type"] for record in asked("--type", "seal")} == {"seal"}
    assert all("west" in json.dumps(record) for record in asked("--member", "west"))
    assert asked("--member", "west", "--round", 99) == []
    assert tally("log", finished, "--type", "nope").status == 2
    assert tally("log", finished, "--member", "nobody").status == 2


def test_following_a_finished_run_ends_with_it(tally, finished):
    assert tally("log", finished, "--follow").out == tally("log", finished).out


def test_following_a_run_under_way_shows_all_of_it(tally, tmp_path):
    task = write_task(tmp_path, rounds=6)
    running = start("run", task, "--out", tmp_path / "a", "--json")
    while not (tmp_path / "a" / "run.json").exists() and running.poll() is None:
        pass
    followed = tally("log", tmp_path / "a", "--follow", "--json")
    running.communicate()

    assert followed.status == 0
    assert followed.out == tally("log", tmp_path / "a", "--json").out


@pytest.mark.parametrize("text", ["", "{}", '{"terms": 3}', '{"terms": "xyz"}', "[]", "\xff"])
def test_a_damaged_run_folder_is_bad_input(tally, tmp_path, text):
    (tmp_path / "run.json").write_text(text, encoding="latin-1")

    assert tally("log", tmp_path, "--json").error["code"] == "bad-input"
    assert tally("explain", tmp_path).status == 2


def test_a_damaged_ledger_is_no_traceback(tally, finished, tmp_path):
    shutil.copy(finished / "run.json", tmp_path)
    (tmp_path / "ledger.db").write_bytes(b"no database at all" * 100)
    ran = tally("log", tmp_path, "--json")

    assert ran.status == 3
    assert ran.error["code"] == "unavailable"
