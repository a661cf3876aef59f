"""`tally run`: the document, the folder, and going on where something stopped it."""

import json
import random
import signal
import sqlite3
import time

import pytest
from support.commands import SITE, execute, start, write_task

KEYS = {
    "format",
    "ok",
    "recipe",
    "seed",
    "members",
    "rounds",
    "data",
    "trial",
    "checks",
    "metrics",
    "refused",
    "genesis",
    "height",
    "state_root",
    "model_root",
    "model_sha256",
    "files",
}
ROOTS = ("genesis", "height", "state_root", "model_root", "model_sha256")


def roots_of(document):
    return {name: document[name] for name in ROOTS}


def test_the_document_has_every_promised_field(tally, tmp_path):
    ran = tally("run", write_task(tmp_path), "--json")
    document = ran.document

    assert ran.status == 0
    assert set(document) >= KEYS
    assert document["format"] == "tally.run/1"
    assert document["ok"] is all(check["ok"] for check in document["checks"])
    assert {"supply-constant", "replay-exact", "bundle-verifies"} <= {
        check["id"] for check in document["checks"]
    }
    assert {"out", "bundle", "model", "ledger", "task", "metrics"} <= set(document["files"])


def test_what_trainers_print_stays_off_standard_output(tally, tmp_path):
    ran = tally("run", write_task(tmp_path), "--json")

    assert ran.document["ok"]
    assert "training north" in ran.err
    assert "native code prints" in ran.err


def test_people_get_a_summary_that_says_who_played(tally, tmp_path):
    ran = tally("run", write_task(tmp_path))

    assert ran.status == 0
    assert "One process played every member" in ran.out
    assert "checks hold" in ran.out
    assert "\x1b" not in ran.out


def test_the_same_command_again_prints_the_same_roots(tally, tmp_path):
    task = write_task(tmp_path)

    assert roots_of(tally("run", task, "--json").document) == roots_of(
        tally("run", task, "--json").document
    )


def test_another_seed_is_another_ledger(tally, tmp_path):
    task = write_task(tmp_path)
    first = tally("run", task, "--out", tmp_path / "a", "--json").document
    second = tally("run", task, "--seed", 1, "--out", tmp_path / "b", "--json").document

    assert second["seed"] == 1
    assert first["genesis"] != second["genesis"]


def test_the_task_beside_a_run_is_the_effective_one(tally, tmp_path):
    task = write_task(tmp_path)
    options = ("--seed", 3, "--rounds", 1, "--json")
    first = tally("run", task, "--out", tmp_path / "a", *options).document
    again = tally("run", first["files"]["task"], "--out", tmp_path / "b", "--json").document

    assert first["rounds"] == again["rounds"] == 1
    assert roots_of(first) == roots_of(again)


def test_a_folder_with_another_run_is_refused(tally, tmp_path):
    task = write_task(tmp_path)
    tally("run", task, "--out", tmp_path / "a")
    before = (tmp_path / "a" / "ledger.db").read_bytes()

    for options in (("--seed", 1), ("--rounds", 1)):
        ran = tally("run", task, "--out", tmp_path / "a", *options, "--json")
        assert ran.status == 2
        assert "another run" in ran.error["message"]
    assert (tmp_path / "a" / "ledger.db").read_bytes() == before


def test_other_attackers_make_another_run(tally, tmp_path):
    task = write_task(tmp_path)
    tally("run", task, "--out", tmp_path / "a")
    task.write_text(task.read_text(encoding="utf-8") + 'attacks = ["sign-flip=1"]\n')
    ran = tally("run", task, "--out", tmp_path / "a", "--json")

    assert ran.status == 2
    assert "another run" in ran.error["message"]


def test_a_folder_with_other_things_is_refused(tally, tmp_path):
    task = write_task(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "thesis.doc").write_text("mine")
    ran = tally("run", task, "--out", tmp_path / "a", "--json")

    assert ran.status == 2
    assert (tmp_path / "a" / "thesis.doc").read_text() == "mine"


def test_a_task_that_comes_to_nothing_is_status_1(tally, tmp_path):
    task = write_task(tmp_path)
    (tmp_path / "own_site.py").write_text(SITE.replace("print(", "raise RuntimeError("))
    status, out, _ = execute("run", task, "--json")
    document = json.loads(out)

    assert status == 1
    assert document["ok"] is False
    assert [check["id"] for check in document["checks"] if not check["ok"]] == ["rounds-completed"]
    assert len(document["model_root"]) == 64  # the initial model


def test_rows_dealt_from_a_table_train_a_model(tally, tmp_path):
    (tmp_path / "x.csv").write_text(
        "a,b,sick\n" + "".join(f"{n % 7},{n % 3},{n % 2}\n" for n in range(96))
    )
    (tmp_path / "t.toml").write_text(
        'name = "t"\nrecipe = "bflc"\nrounds = 1\n[simulate]\nmembers = 4\n'
        'data = "x.csv"\ntarget = "sick"\nattacks = ["sign-flip:4=1"]\n'
    )
    document = tally("run", tmp_path / "t.toml", "--json").document

    assert document["ok"]
    assert document["members"] == 4
    assert 0 <= document["metrics"]["accuracy"] <= 1
    assert document["attackers"] == {"member-4": "sign-flip:4"}


@pytest.mark.parametrize("interruption", [signal.SIGINT, signal.SIGTERM], ids=lambda s: s.name)
def test_an_interrupted_run_is_status_130_and_goes_on(tally, tmp_path, interruption):
    task = write_task(tmp_path, rounds=12)
    expected = tally("run", task, "--out", tmp_path / "whole", "--json").document
    process = start("run", task, "--out", tmp_path / "a", "--json")
    until_height(tmp_path / "a" / "ledger.db", 12, process)
    process.send_signal(interruption)
    out, _ = process.communicate()
    goes_on = tally("run", task, "--out", tmp_path / "a", "--json").document

    assert process.returncode == 130
    assert json.loads(out)["error"]["code"] == "interrupted"
    assert roots_of(goes_on) == roots_of(expected)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_run_killed_at_any_moment_goes_on_to_the_same_roots(tally, tmp_path, seed):
    task = write_task(tmp_path, recipe="standard", rounds=6)
    expected = tally("run", task, "--out", tmp_path / "whole", "--json").document
    dice = random.Random(seed)
    height = dice.randrange(2)
    while height < expected["height"]:
        process = start("run", task, "--out", tmp_path / "a", "--json")
        until_height(tmp_path / "a" / "ledger.db", height, process)
        time.sleep(dice.random() / 50)
        process.kill()
        process.communicate()
        height += dice.randrange(5, 25)
    goes_on = tally("run", task, "--out", tmp_path / "a", "--json").document

    assert goes_on["ok"]
    assert roots_of(goes_on) == roots_of(expected)


def until_height(ledger, height, process):
    """Wait until the ledger has so many blocks or the process has ended."""
    while process.poll() is None:
        if blocks_in(ledger) >= height:
            return
        time.sleep(0.01)


def blocks_in(ledger):
    """Return how many blocks a ledger has, without getting in the way of who founds it."""
    if not ledger.exists() or ledger.read_bytes()[18:19] != b"\2":  # not in write-ahead mode yet
        return 0
    database = sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)
    try:
        return database.execute("SELECT COUNT(*) FROM blocks").fetchone()[0]
    except sqlite3.Error:
        return 0
    finally:
        database.close()
