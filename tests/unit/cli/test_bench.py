"""`tally bench`: the names and units of the contract, and the machine."""

import numpy as np
import pytest
from support import oracles

from tallystick.lab.bench.aggregate import peers_of
from tallystick.mechanisms.registry import all_rules, make_rule

SMALL = {
    "round": ["--members", 4, "--parameters", 1000, "--repeat", 1],
    "ledger": ["--transactions", 40, "--repeat", 2],
    "aggregate": ["--members", 3, "--parameters", 1000, "--repeat", 2],
    "proofs": ["--repeat", 1],
}
NAMES = {
    "round": {"seconds_per_round": "s", "peak_memory_bytes": "B"},
    "ledger": {"durable_transactions_per_second": "1/s", "ledger_bytes_per_transaction": "B"},
    "aggregate": {"parameters_per_second": "1/s", "numpy_average_parameters_per_second": "1/s"},
    "proofs": {"prove_seconds": "s", "verify_seconds": "s", "proof_bytes": "B"},
}


@pytest.mark.parametrize("what", SMALL)
def test_the_document_has_the_promised_names(tally, what):
    ran = tally("bench", what, *SMALL[what], "--json")
    document = ran.document

    assert ran.status == 0
    assert document["format"] == "tally.bench/1"
    assert document["bench"] == what
    assert {"cpu", "cores", "python", "numpy"} <= set(document["machine"])
    assert {result["name"]: result["unit"] for result in document["results"]} == NAMES[what]
    for result in document["results"]:
        assert 0 < result["min"] <= result["median"] <= result["max"]


def test_proofs_are_measured_at_four_lengths_and_grow_slowly(tally):
    results = tally("bench", "proofs", "--repeat", 1, "--json").document["results"]
    sizes = {each["records"]: each["median"] for each in results if each["name"] == "proof_bytes"}

    assert list(sizes) == [100, 1000, 10_000, 100_000]
    assert sizes[100_000] < 3 * sizes[100]


def test_a_round_says_what_one_process_computes_once(tally):
    document = tally("bench", "round", *SMALL["round"], "--recipe", "bflc", "--json").document

    assert "once for all of them" in document["says"]
    assert document["results"][0]["recipe"] == "bflc"
    assert document["results"][0]["members"] == 4
    assert document["results"][0]["parameters"] == 1000


def test_people_get_a_table(tally):
    ran = tally("bench", "ledger", *SMALL["ledger"])

    assert ran.status == 0
    assert "durable_transactions_per_second" in ran.out
    assert "cores" in ran.out


@pytest.mark.parametrize("rule", [kind.id for kind in all_rules() if hasattr(kind, "combine")])
def test_any_aggregation_can_be_measured(tally, rule):
    ran = tally("bench", "aggregate", *SMALL["aggregate"], "--rule", rule, "--json")

    assert ran.document["results"][0]["rule"] == rule


@pytest.mark.parametrize(
    ("rule", "peer"),
    [("median", "numpy_sort"), ("trimmed-mean", "numpy_sort"), ("krum", "numpy_blas")],
)
def test_numpys_own_way_of_a_rule_is_measured_in_the_same_run(tally, rule, peer):
    asked = (*SMALL["aggregate"], "--rule", f"aggregate/{rule}/1")
    ran = tally("bench", "aggregate", *asked, "--json")
    units = {result["name"]: result["unit"] for result in ran.document["results"]}

    assert units == NAMES["aggregate"] | {f"{peer}_parameters_per_second": "1/s"}


@pytest.mark.parametrize("members", [3, 5, 9, 12])
def test_the_peers_compute_what_the_rules_do(members):
    rows = np.random.default_rng(members).standard_normal((members, 50)).astype(np.float32)

    def peer(rule, name):
        return peers_of(make_rule(f"aggregate/{rule}/1", {}))[name](rows)

    assert np.allclose(peer("median", "numpy_sort"), np.median(rows, axis=0))
    trim = (members - 1) // 3
    assert np.allclose(
        peer("trimmed-mean", "numpy_sort"), oracles.trimmed_mean(rows, trim), atol=1e-6
    )
    assert np.allclose(peer("krum", "numpy_blas"), rows[oracles.krum_order(rows, trim)[0]])


def test_too_few_members_for_an_aggregation_is_bad_input(tally):
    asked = ("--members", 4, "--parameters", 10, "--repeat", 1, "--rule", "aggregate/krum/1")
    ran = tally("bench", "aggregate", *asked, "--json")

    assert ran.status == 2
    assert "not-enough-updates" in ran.error["message"]


def test_too_few_members_for_a_recipe_is_bad_input(tally):
    ran = tally("bench", "round", "--recipe", "bflc", "--members", 1, "--parameters", 10, "--json")

    assert ran.status == 2
    assert ran.error["message"]


def test_a_network_of_one_is_refused(tally):
    ran = tally("bench", "network", "--members", 1)

    assert ran.status == 2
    assert "--members 1" in ran.err
