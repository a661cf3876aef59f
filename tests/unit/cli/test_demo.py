"""`tally demo`: the document of the contract, its statuses, and its list."""

import json

import pytest
from support.commands import execute

from tallystick.federation.recipes import recipe_names

SMALL = ("--members", 8, "--rounds", 2)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A small demo of the default recipe: status and document, in a folder that stays."""
    folder = tmp_path_factory.mktemp("demo") / "out"
    status, out, _ = execute("demo", *SMALL, "--seed", 3, "--out", folder, "--json")
    return status, json.loads(out), folder


def test_the_document_has_every_promised_field(ran):
    _, document, folder = ran

    assert document["format"] == "tally.demo/1"
    assert document["recipe"] == "standard"
    assert (document["seed"], document["members"], document["rounds"]) == (3, 8, 2)
    assert document["data"] == "breast_cancer"
    assert document["trial"] is True
    assert document["files"]["out"] == str(folder)
    for check in document["checks"]:
        assert {"id", "ok", "measured", "op", "bound", "says"} <= set(check)
    for refused in document["refused"]:
        assert {"round", "member", "update", "code", "reason", "evidence"} <= set(refused)


def test_ok_is_every_check_and_so_is_the_status(ran):
    status, document, _ = ran

    assert document["ok"] is all(check["ok"] for check in document["checks"])
    assert status == (0 if document["ok"] else 1)


def test_what_a_demo_leaves_behind_verifies(ran, tally):
    _, document, _ = ran
    files = document["files"]
    options = ("--genesis", document["genesis"], "--model", files["model"], "--replay")

    assert tally("verify", files["bundle"], *options).status == 0


def test_the_list_names_every_recipe(tally):
    ran = tally("demo", "--list", "--json")

    assert [each["recipe"] for each in ran.document["demos"]] == list(recipe_names())
    assert all(name in tally("demo", "--list").out for name in recipe_names())


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["nope"], "nope"),
        (["--attack", "nope=1"], "nope"),
        (["--attack", "sign-flip"], "sign-flip"),
        (["--attack", "sign-flip=99"], "99"),
        (["--data", "nope.csv"], "nope.csv"),
        (["--target", "x"], "target"),
        (["--partition", "odd"], "odd"),
        (["--members", "1"], "members"),
    ],
)
def test_what_does_not_fit_is_bad_input_that_names_it(tally, options, named):
    ran = tally("demo", *options, "--json")

    assert ran.status == 2
    assert named in ran.error["message"]


def test_a_demo_on_nodes_without_cometbft_names_what_installs_it(tally, tmp_path, monkeypatch):
    monkeypatch.delenv("TALLY_COMETBFT", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    ran = tally("demo", "standard", "--network", "--out", tmp_path / "out", "--json")

    assert ran.status == 3
    assert "tally network engine --install" in ran.document["error"]["hint"]
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_played_on_nodes_is_bad_input(tally):
    assert tally("demo", "standard", "--network", "--full").status == 2
    private = tally("demo", "learningchain", "--network", "--json")
    assert private.status == 2
    assert "privacy budgets" in private.document["error"]["message"]
