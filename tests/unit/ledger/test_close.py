"""The end: asked for by the owner or reached, co-signed by the members, and final."""

import pytest
from support.play import Play
from support.terms import FUND, WINDOW, chain_fl, contest, make_terms, simple, stage, update_stage
from support.world import World, rotation, secret_of

from tallystick.codec import encode
from tallystick.crypto import keys
from tallystick.crypto.hashes import sha256
from tallystick.crypto.merkle_list import list_root
from tallystick.ledger.collect.notes import Closed, Finished, Opened
from tallystick.ledger.collect.row import COSIGN_DOMAIN
from tallystick.ledger.contracts.tasks import NotOwnerError
from tallystick.ledger.messages import CloseTask, Collect, Entry
from tallystick.mechanisms.records import Artefact, Attestation


def closing(**fields):
    play = Play(World(), chain_fl(**{"rounds": 1, **fields}))
    play.until("cosign")
    return play, play.row.open[0]


def signature(play, member, statement, domain=COSIGN_DOMAIN, secret=None):
    return Attestation(keys.sign(secret or secret_of(member), domain, statement))


def cosign(play, member, record):
    key = play.row.open[0]
    return Collect(play.task, (Entry(key.phase, key.round, key.stage, record),))


def test_members_sign_the_final_model_and_the_log_up_to_there():
    play, key = closing()
    statement = play.world.stage(key).subject
    leaves = play.world.leaves[play.task]
    opened = next(
        at for at, note in enumerate(play.notes()) if isinstance(note, Opened) and note.key == key
    )
    log = list_root(leaves[: opened + 1])
    row = play.row

    assert row.model.root != play.terms.model.root
    assert statement == sha256("final", play.task, encode(row.model), encode(opened + 1), log)


def test_whoever_signed_is_in_the_output_and_the_task_is_done():
    play, _ = closing()
    play.finish()
    output = next(note.output for note in play.notes(Closed) if note.stage == "cosign")

    assert play.status == "done"
    assert [subject.author for subject in output.subjects] == list(play.names)


def test_a_silent_cosigner_holds_nothing_up_for_longer_than_a_window():
    play, _ = closing()
    play.block("delta")
    assert play.status == "running"
    play.world.seal(WINDOW)
    output = next(note.output for note in play.notes(Closed) if note.stage == "cosign")

    assert play.status == "done"
    assert [subject.author for subject in output.subjects] == ["alpha", "bravo", "charlie"]
    assert play.forfeited() == 0


@pytest.mark.parametrize("wrong", ["statement", "domain", "key", "kind"])
def test_a_wrong_cosignature_is_refused_on_arrival(wrong):
    play, key = closing()
    statement = play.world.stage(key).subject
    records = {
        "statement": signature(play, "delta", bytes(32)),
        "domain": signature(play, "delta", statement, b"attest/1"),
        "key": signature(play, "delta", statement, secret=secret_of("alpha")),
        "kind": Artefact(play.task, 0),
    }

    assert play.world.refused("delta", cosign(play, "delta", records[wrong])).code == 508
    play.world.accept("delta", cosign(play, "delta", signature(play, "delta", statement)))


def test_a_cosignature_is_given_once():
    play, key = closing()
    message = cosign(play, "delta", signature(play, "delta", play.world.stage(key).subject))
    play.world.accept("delta", message)

    assert play.world.refused("delta", message).code == 507


def test_a_cosignature_is_by_the_key_that_sends_it():
    play, key = closing()
    play.world.accept("delta", rotation(play.world, "delta"))
    play.world.generations["delta"] = 1
    statement = play.world.stage(key).subject
    old = signature(play, "delta", statement)
    new = signature(play, "delta", statement, secret=secret_of("delta", 1))

    assert play.world.refused("delta", cosign(play, "delta", old)).code == 508
    play.world.accept("delta", cosign(play, "delta", new))


def test_the_close_works_on_the_last_model_and_can_make_one():
    play = Play(World(), contest(rounds=2))
    play.until_round(3, phase=2)
    before = play.row.model
    play.until("cosign")
    draft = play.row.draft
    assert draft is not None
    assert draft != before
    play.finish()

    assert play.status == "done"
    assert play.row.model == draft


# --- closing early --------------------------------------------------------------------------------


def test_only_the_owner_closes():
    play = Play(World(), simple(rounds=9))

    assert type(play.world.refused("bravo", CloseTask(play.task))) is NotOwnerError


def test_the_running_round_is_finished_and_paid_first():
    play = Play(World(), simple(rounds=9))
    play.until("update", "reveal")
    play.world.accept("alpha", CloseTask(play.task))
    assert play.where[2:] == ("update", "reveal")
    assert play.finish() == "done"

    assert play.row.completed == (1,)
    assert play.paid() == dict.fromkeys(play.names, 250)
    assert play.row.cause == "closed-by-owner"
    assert play.notes(Finished)[0].cause == "closed-by-owner"


def test_a_task_closed_during_setup_runs_no_round():
    play = Play(World(), simple(rounds=9))
    play.world.accept("alpha", CloseTask(play.task))
    assert play.finish() == "done"

    assert play.row.completed == ()
    assert play.row.cause == "closed-by-owner"
    assert play.shuts("update", "seal") == []


def test_a_task_that_ran_its_rounds_ends_without_a_cause():
    play = Play(World(), simple(rounds=1))
    play.finish()

    assert (play.status, play.row.cause) == ("done", "")


def test_an_ended_task_cannot_be_closed():
    play = Play(World(), simple(rounds=1))
    play.finish()

    assert play.world.refused("alpha", CloseTask(play.task)).code == 502


def test_bonds_posted_in_the_close_go_back():
    last = stage("last", "submit/commitment/1", who="members", bond=40)
    terms = make_terms((update_stage(who="members"),), (FUND,), (last,), rounds=1)
    play = Play(World(), terms)
    play.until("cosign")
    assert play.world.money()["bonds"] == 160
    play.finish()

    assert play.world.money() == {"balances": 40_000_000, "escrow": 0, "bonds": 0}
