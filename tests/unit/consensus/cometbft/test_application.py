"""Every question of ABCI 2.0, asked over the socket."""

import json
import logging

import pytest
from support.fake_comet import ACCEPT, REJECT, Decision, FailedError, framed, moment
from support.terms import simple
from support.validators import VALIDATOR, evidence, new_key
from support.world import public_of

from tallystick.consensus.cometbft import abci_pb2 as abci
from tallystick.consensus.cometbft.replica import receipt_hash
from tallystick.consensus.cometbft.validators import address_of, founding_validators
from tallystick.errors import UnavailableError
from tallystick.ledger import kernel as kernel_module
from tallystick.ledger.collect import recipe
from tallystick.ledger.genesis import engine_chain_id, genesis_hash
from tallystick.ledger.messages import ProposeTask, Remove, Seat, Transfer, Unseat, Upgrade
from tallystick.mechanisms import registry


def block_of(outcome, **fields):
    header = outcome.header
    return Decision(header.height, header.time, outcome.block.transactions, **fields)


@pytest.fixture
def follow(world, comet):
    """Return what lets CometBFT decide the blocks the kernel alone made; the last answer."""

    def act():
        for outcome in world.outcomes[comet.top :]:
            comet.apply(block_of(outcome))
            assert comet.hashes[comet.top] == outcome.header.state_root
        assert comet.power == world.power
        return comet.results[comet.top]

    return act


def updates_of(told):
    return {each.pub_key.ed25519: each.power for each in told.validator_updates}


# --- the handshake --------------------------------------------------------------------------------


def test_a_ledger_without_blocks_is_at_height_0_and_names_no_state(world, comet):
    told = comet.info()

    assert (told.data, told.app_version) == (world.genesis.name, 1)
    assert (told.last_block_height, told.last_block_app_hash) == (0, b"")


def test_the_beginning_has_the_state_of_the_genesis(world, comet):
    assert comet.hashes == {0: world.head.state_root}
    assert comet._found() == world.head.state_root  # CometBFT crashed before the first block


def test_a_ledger_with_blocks_says_the_newest_and_its_state(world, comet, follow, pay):
    pay()
    world.seal()
    follow()
    told = comet.info()

    assert (told.last_block_height, told.last_block_app_hash) == (1, world.head.state_root)


def beginnings(genesis):
    """Return questions that begin another chain than the genesis does, by what is wrong."""
    state = {"genesis": genesis_hash(genesis).hex()}
    seats = [(each.public, each.power) for each in founding_validators(genesis)]
    right = {"chain": engine_chain_id(genesis), "seats": seats, "state": state}
    return {
        "chain": {**right, "chain": "other"},
        "missing validator": {**right, "seats": seats[1:]},
        "power": {**right, "seats": [(seats[0][0], 11), *seats[1:]]},
        "stranger": {**right, "seats": [*seats, (public_of("foxtrot"), 10)]},
        "genesis": {**right, "state": {"genesis": bytes(32).hex()}},
        "more state": {**right, "state": {**state, "more": 1}},
        "no state": {**right, "state": {}},
    }


WRONG = "chain", "missing validator", "power", "stranger", "genesis", "more state", "no state"


@pytest.mark.parametrize("wrong", WRONG)
def test_another_chain_is_not_begun(world, make_comet, wrong, caplog):
    caplog.set_level(logging.CRITICAL)
    comet = make_comet()
    given = beginnings(world.genesis)[wrong]
    asked = abci.InitChainRequest(
        chain_id=given["chain"], app_state_bytes=json.dumps(given["state"]).encode()
    )
    for public, power in given["seats"]:
        asked.validators.add(pub_key=abci.PublicKey(ed25519=public), power=power)

    with pytest.raises(FailedError, match=r"another ledger|does not begin as"):
        comet.ask("consensus", "init_chain", asked)


def test_a_ledger_with_blocks_does_not_begin_again(world, comet, follow, caplog):
    caplog.set_level(logging.CRITICAL)
    world.seal()
    follow()

    with pytest.raises(FailedError, match="another ledger"):
        comet._found()


# --- transactions ---------------------------------------------------------------------------------


def test_a_checked_transaction_has_the_ledgers_code(world, comet, pay, monkeypatch):
    bad = world.sign("bravo", Transfer("alpha", 1), chain=bytes(32))

    assert comet.check(pay().wire, bad.wire, b"junk") == [0, 103, 101]
    told = comet.ask("mempool", "check_tx", abci.CheckTxRequest(tx=bad.wire))
    assert "bad-signature" in told.log


def test_a_full_share_has_a_code_of_its_own(world, make_comet, pay, monkeypatch):
    monkeypatch.setattr("tallystick.consensus.cometbft.mempool.MOST_MEMPOOL", 4)
    comet = make_comet()

    assert comet.check(pay().wire, pay().wire) == [0, 2]


def test_after_a_block_the_mempool_is_looked_at_again(world, comet, pay):
    sent = [pay() for _ in range(3)]
    late = pay("charlie", until=world.now + 500)
    assert comet.check(*(tx.wire for tx in (*sent, late))) == [0] * 4
    world.pending = sent[:2]
    comet.apply(block_of(world.seal()))

    assert list(comet.mempool) == [sent[2].wire]


# --- proposals ------------------------------------------------------------------------------------


def test_a_proposal_is_accepted_by_everybody(world, make_network, pay):
    network = make_network()
    for place in range(8):
        network.hand_in(pay().wire, pay("charlie").wire, at=place % 3)
        block = network.decide(proposer=place % 4)
        assert len(block.txs) == 2
        assert world.seal().header == network.comets[0].app.replica.head


def test_any_number_of_rounds_may_go_before_a_block(world, comet, pay):
    sent = [pay().wire for _ in range(3)]
    comet.check(*sent)
    for turn in range(5):
        block = comet.prepare(world.now + turn, sent[: turn % 3])
        assert comet.process(block)
    last = comet.prepare(world.now + 1000)
    assert comet.process(last)
    comet.apply(last)

    assert world.seal().header == comet.app.replica.head


def test_a_bad_proposal_is_rejected_and_its_proposer_named(world, comet, pay):
    first, second = pay().wire, pay().wire
    bad = Decision(1, world.now, (second, first), proposer=b"p" * 20)

    assert comet.ask("consensus", "process_proposal", bad.request()).status == REJECT
    ((address, height, wrong, wires),) = comet.app.blamed
    assert (address, height, wires) == (b"p" * 20, 1, [second, first])
    assert "canonical order" in wrong
    good = Decision(1, world.now, (first, second))
    assert comet.ask("consensus", "process_proposal", good.request()).status == ACCEPT
    assert len(comet.app.blamed) == 1


def test_a_block_that_needs_a_rule_this_node_lacks_is_rejected_and_nobody_blamed(
    world, comet, monkeypatch, caplog
):
    block = block_of(world.forced(world.sign("alpha", ProposeTask(simple()))))
    recipe._compiled.cache_clear()
    with monkeypatch.context() as patch:
        patch.delitem(registry._RULES, "decide/all/1")
        told = comet.ask("consensus", "process_proposal", block.request())
        assert (told.status, comet.app.blamed) == (REJECT, [])
        with pytest.raises(FailedError, match="decide/all/1"):
            comet.ask("consensus", "finalize_block", block.request())

    assert "'decide/all/1' is not installed here" in comet.app.replica.failure
    assert not any(record.exc_info for record in caplog.records)
    assert comet.app.replica.head.height == 0


def test_whoever_rejected_a_block_executes_it_when_it_was_decided(world, comet, pay):
    sent = pay().wire, pay().wire
    assert not comet.process(Decision(1, world.now, sent[::-1]))
    outcome = world.seal()
    comet.apply(block_of(outcome))

    assert comet.app.replica.head == outcome.header


# --- decided blocks -------------------------------------------------------------------------------


def test_results_are_the_receipts_codes_and_hashes(world, comet, pay):
    good, poor = pay(), world.sign("charlie", Transfer("alpha", 2**60))
    forced = world.forced(good, poor)
    told = comet.ask("consensus", "finalize_block", block_of(forced).request())

    assert [each.code for each in told.tx_results] == [0, 411]
    assert [each.data for each in told.tx_results] == [
        receipt_hash(receipt) for receipt in forced.receipts
    ]
    assert told.app_hash == forced.header.state_root
    assert not told.HasField("consensus_param_updates")
    assert updates_of(told) == {}


def test_a_block_without_transactions_changes_no_state(world, comet, follow, pay):
    pay()
    world.seal()
    follow()
    before = comet.hashes[1]
    world.seal()

    assert follow().app_hash == before
    assert comet.app.replica.head.height == 2


def test_time_reaches_the_ledger_in_milliseconds(comet):
    asked = Decision(1, 0).request()
    asked.time.CopyFrom(abci.Moment(seconds=1_700_000_000, nanos=123_999_999))
    comet.ask("consensus", "finalize_block", asked)
    comet.ask("consensus", "commit")

    assert comet.app.replica.head.time == 1_700_000_000_123


def test_a_seat_given_or_taken_is_one_update(world, follow):
    world.vote(Unseat("delta"))
    assert updates_of(follow()) == {public_of("delta", VALIDATOR): 0}
    world.vote(Seat("delta"))
    assert updates_of(follow()) == {public_of("delta", VALIDATOR): 10}
    world.vote(Remove("charlie"))
    assert updates_of(follow()) == {public_of("charlie", VALIDATOR): 0}


def test_a_replaced_key_goes_and_the_new_one_comes_in_one_block(world, follow):
    world.accept("bravo", new_key(world, "bravo"))

    assert updates_of(follow()) == {
        public_of("bravo", VALIDATOR): 0,
        public_of("bravo", VALIDATOR + 1): 10,
    }


def test_what_is_undone_within_a_block_is_no_update(world, follow):
    for _ in range(2):
        world.send("bravo", new_key(world, "bravo"))
    world.seal()
    told = follow()
    keys = [each.pub_key.ed25519 for each in told.validator_updates]

    assert len(keys) == len(set(keys))
    assert public_of("bravo", VALIDATOR + 1) not in keys
    assert updates_of(told) == {
        public_of("bravo", VALIDATOR): 0,
        public_of("bravo", VALIDATOR + 2): 10,
    }


def test_whoever_votes_twice_is_no_validator_any_more(world, follow):
    world.accept("alpha", evidence(world, "delta"))

    assert updates_of(follow()) == {public_of("delta", VALIDATOR): 0}


def test_a_new_protocol_version_is_told_once_and_named_from_then_on(
    world, comet, follow, monkeypatch
):
    monkeypatch.setattr(kernel_module, "KNOWN", frozenset({1, 2}))
    world.vote(Upgrade(2, 3))
    assert not follow().HasField("consensus_param_updates")
    world.seal()
    assert follow().consensus_param_updates.version.app == 2
    assert comet.info().app_version == 2
    world.seal()
    assert not follow().HasField("consensus_param_updates")


def test_only_a_vote_for_two_blocks_is_reported(comet):
    for height, kind in ((1, 2), (2, 1), (3, 0)):
        comet.apply(Decision(height, height, misbehavior=(abci.Misbehavior(type=kind),)))

    assert comet.app.accused == [2]


def test_a_commit_that_fails_stops_cometbft_and_loses_nothing(
    world, comet, pay, monkeypatch, caplog
):
    def full(*_):
        raise UnavailableError("the disk is full")

    caplog.set_level(logging.CRITICAL)
    pay()
    outcome = world.seal()
    with monkeypatch.context() as broken:
        broken.setattr(comet.app.store, "commit", full)
        with pytest.raises(FailedError, match="the disk is full"):
            comet.apply(block_of(outcome))
    comet.kill()
    comet.start()

    assert comet.app.replica.head == outcome.header


# --- everything else ------------------------------------------------------------------------------


def test_only_members_nodes_may_connect(world, comet, follow):
    def may(path):
        return comet.ask("query", "query", abci.QueryRequest(path=path)).code == 0

    def by(public):
        return f"/p2p/filter/id/{address_of(public).hex()}"

    old, new = (public_of("bravo", VALIDATOR + n) for n in range(2))
    assert may("/p2p/filter/addr/127.0.0.1:26656")
    assert may(by(old))
    assert not may(by(new))
    assert not may(by(public_of("bravo")))  # an owner key is no node's
    assert not may("/p2p/filter/id/")
    world.accept("bravo", new_key(world, "bravo"))
    world.vote(Unseat("delta"))
    world.vote(Remove("charlie"))
    follow()

    assert may(by(new))
    assert may(by(old))  # a node's identity stays when the key it votes with is replaced
    assert may(by(public_of("delta", VALIDATOR)))
    assert not may(by(public_of("charlie", VALIDATOR)))


@pytest.mark.parametrize("path", ["", "/", "/store", "p2p/filter/id/x", "/p2p/other"])
def test_anything_else_is_to_be_asked_over_http(comet, path):
    told = comet.ask("query", "query", abci.QueryRequest(path=path, data=b"x"))

    assert told.code == 1
    assert "HTTP" in told.log


def test_echoes_and_votes_are_answered(comet):
    assert comet.ask("query", "echo", abci.Echo(message="é")).message == "é"
    assert comet.ask("consensus", "extend_vote") == abci.Nothing()
    assert comet.ask("consensus", "verify_vote_extension").status == ACCEPT


@pytest.mark.parametrize("number", [4, 7, 9, 10, 21, 22, 100])
def test_a_question_that_is_not_in_abci_2_is_an_exception(comet, number, caplog):
    caplog.set_level(logging.CRITICAL)
    connection = comet.connections["query"]
    tag = number << 3 | 2
    field = bytes([tag]) if tag < 128 else bytes([tag % 128 | 128, tag >> 7])
    connection.socket.sendall(framed(field + b"\x00") + connection.frame("flush"))

    with pytest.raises(FailedError, match=r"told exception: this is not in ABCI 2\.0"):
        connection.read("insert_tx")
    connection.read("flush")
    assert comet.info().last_block_height == 0


def test_what_fails_is_an_exception_and_the_next_question_is_answered(world, comet, caplog):
    caplog.set_level(logging.CRITICAL)
    with pytest.raises(FailedError, match="commit: a block was to be written before"):
        comet.ask("consensus", "commit")
    with pytest.raises(FailedError, match="finalize_block: block 7 was decided"):
        comet.ask("consensus", "finalize_block", Decision(7, world.now).request())
    comet.apply(Decision(1, world.now))

    assert comet.app.replica.head.height == 1


def test_moments_are_whole_milliseconds():
    assert moment(1_234) == abci.Moment(seconds=1, nanos=234_000_000)
