"""A demo on four nodes: the same model as in one process, and every check holds."""

import json

import pytest

from tallystick.cli import main

pytestmark = pytest.mark.network

SMALL = ("bflc", "--members", "5", "--rounds", "1", "--seed", "3")


def demo(capsys, *arguments):
    """Return the exit status of a demo, and its document."""
    status = main(["demo", *SMALL, *arguments, "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_four_nodes_and_one_process_make_the_same_model(tmp_path, capsys):
    out = tmp_path / "out"
    status, found = demo(capsys, "--network", "--out", str(out))
    again, resumed = demo(capsys, "--network", "--out", str(out))
    _, alone = demo(capsys)

    assert (status, again) == (0, 0)
    assert found["model_root"] == resumed["model_root"] == alone["model_root"]
    assert found["trial"] is True
    assert found["network"]["engine"] == "cometbft"
    assert found["network"]["nodes"] == [f"clinic-{number}" for number in range(1, 5)]
    assert found["network"]["validators"] == found["network"]["nodes"]
    assert 0 < found["network"]["blocks_with_transactions"] < found["network"]["blocks"]
    assert set(found["files"]) == set(alone["files"])
    assert {check["id"] for check in found["checks"]} == {
        "nodes-agree",
        *(check["id"] for check in alone["checks"]),
    }
