"""`tally bench`: the names and units of the contract, and the machine."""

import pytest

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


@pytest.mark.parametrize("rule", ["aggregate/median/1", "aggregate/clipped-mean/1"])
def test_any_aggregation_can_be_measured(tally, rule):
    ran = tally("bench", "aggregate", *SMALL["aggregate"], "--rule", rule, "--json")

    assert ran.document["results"][0]["rule"] == rule


def test_too_few_members_for_a_recipe_is_bad_input(tally):
    ran = tally("bench", "round", "--recipe", "bflc", "--members", 1, "--parameters", 10, "--json")

    assert ran.status == 2
    assert ran.error["message"]
