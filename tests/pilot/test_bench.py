"""The bench of a network measures what its page promises, also through wires that break."""

from __future__ import annotations

import json

import pytest

from tallystick.cli import main
from tallystick.lab.bench.network import default_engine

pytestmark = pytest.mark.network

NAMES = {
    "transactions_per_second",
    "latency_p50_seconds",
    "latency_p95_seconds",
    "seconds_per_round",
    "blocks_per_round",
    "full_blocks_per_round",
    "sequential_blocks_per_round",
    "transactions_per_round",
    "bytes_per_member_per_round",
    "member_memory_bytes",
    "memory_bytes_per_node",
}
BELOW = ("--members", "3", "--parameters", "300000", "--repeat", "1", "--transactions", "40")


@pytest.mark.filterwarnings("ignore")  # a fork beside threads, which is what it measures
@pytest.mark.parametrize("engine", ["solo", "cometbft"])
def test_a_round_over_a_breaking_wire_is_measured(capsys, engine):
    if engine == "cometbft" and default_engine() != "cometbft":
        pytest.skip("CometBFT is not installed")
    arguments = ("bench", "network", *BELOW, "--cut-every", "500000", "--engine", engine, "--json")
    status = main(arguments)
    document = json.loads(capsys.readouterr().out)
    found = {result["name"]: result for result in document["results"]}

    assert status == 0
    assert set(found) == NAMES
    assert {result["engine"] for result in found.values()} == {engine}
    assert all(result["median"] > 0 for result in found.values())
    assert found["seconds_per_round"]["cuts"] > 0
    assert found["sequential_blocks_per_round"]["max"] == 4
    assert found["blocks_per_round"]["min"] >= found["full_blocks_per_round"]["min"] >= 4


def test_an_engine_that_orders_no_network_is_bad_input(capsys):
    assert main(["bench", "network", "--engine", "pow"]) == 2
    assert "--engine 'pow'" in capsys.readouterr().err
