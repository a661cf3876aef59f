"""The bench of a network measures what its page promises, also through a wire that breaks."""

from __future__ import annotations

import json

import pytest

from tallystick.cli import main

pytestmark = pytest.mark.network

NAMES = {
    "transactions_per_second",
    "latency_p50_seconds",
    "latency_p95_seconds",
    "seconds_per_round",
    "bytes_per_member_per_round",
    "member_memory_bytes",
    "node_memory_bytes",
}


@pytest.mark.filterwarnings("ignore")  # a fork beside threads, which is what it measures
def test_a_round_over_a_breaking_wire_is_measured(capsys):
    size = ("--members", "3", "--parameters", "300000", "--repeat", "1", "--transactions", "40")
    status = main(["bench", "network", *size, "--cut-every", "500000", "--json"])
    document = json.loads(capsys.readouterr().out)

    assert status == 0
    found = {result["name"]: result for result in document["results"]}
    assert set(found) == NAMES
    assert all(result["median"] > 0 for result in found.values())
    assert found["seconds_per_round"]["cuts"] > 0
