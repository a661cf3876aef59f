"""`tally network engine`: which CometBFT runs, and what is refused."""

import hashlib

import pytest

from tallystick.consensus.cometbft import binary

SAYS = """#!/bin/sh
echo '{"cometbft": "0.39.4", "abci": "2.0.0"}'
"""


@pytest.fixture(autouse=True)
def nothing_installed(tmp_path, monkeypatch):
    monkeypatch.delenv("TALLY_COMETBFT", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr(binary.shutil, "which", lambda name: None)


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "my-cometbft"
    path.write_text(SAYS)
    path.chmod(0o755)
    return path


def test_without_a_cometbft_it_is_status_3_and_says_how_to_get_one(tally):
    ran = tally("network", "engine", "--json")

    assert ran.status == 3
    assert ran.error["hint"] == "tally network engine --install"


def test_it_says_which_runs_and_where_it_was_found(tally, program, monkeypatch):
    monkeypatch.setenv("TALLY_COMETBFT", str(program))
    document = tally("network", "engine", "--json").document

    assert document == {
        "format": "tally.network-engine/1",
        "ok": True,
        "path": str(program),
        "version": "0.39.4",
        "digest": hashlib.sha256(SAYS.encode()).hexdigest(),
        "pinned": False,
        "source": "variable",
    }
    assert "TALLY_COMETBFT names it" in tally("network", "engine").out


def test_a_file_that_is_not_known_is_status_2_and_both_digests_are_named(tally, program):
    ran = tally("network", "engine", "--binary", program, "--json")

    assert ran.status == 2
    for digest in (hashlib.sha256(SAYS.encode()).hexdigest(), *binary.PINNED.values()):
        assert digest in ran.error["message"]
    assert tally("network", "engine", "--json").status == 3


def test_building_without_go_is_status_3(tally):
    ran = tally("network", "engine", "--install", "--json")

    assert ran.status == 3
    assert "takes Go" in ran.error["message"]


def test_building_and_adopting_at_once_is_status_2(tally, program):
    ran = tally("network", "engine", "--install", "--binary", program, "--json")

    assert ran.status == 2
