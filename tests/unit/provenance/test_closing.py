"""Closing signatures: over a result only, and enough of them."""

from __future__ import annotations

import msgspec
import pytest

from tallystick.cli import main
from tallystick.consensus.solo import Solo
from tallystick.errors import TallyError
from tallystick.lab.attacks import assign, parse_attack
from tallystick.ledger.collect.rows import LIVE
from tallystick.ledger.messages import Collect
from tallystick.ledger.transaction import parse_transaction
from tallystick.provenance import verify, write_bundle
from tallystick.storage.sqlite import LedgerStore


def failed(report) -> list[str]:
    return [check.id for check in report.checks if not check.ok]


def cut_short(made, secret, folder):
    """Seal a run again up to its first closing signatures, and write the bundle of that."""
    engine = made.federation.engine
    again = Solo(LedgerStore(folder / "cut.db"), engine.genesis, secret)
    *before, last = engine.blocks(1)
    for block in before:
        for wire in block.transactions:
            again.submit(wire)
        again.seal(block.header.time)
    for wire in last.transactions[:2]:
        again.submit(wire)
    again.seal(last.header.time)
    write_bundle(folder / "cut.tally", again, made.task)
    return folder / "cut.tally"


def test_a_transaction_the_sealer_left_out_costs_it_the_closing_signatures(
    small, sealer_secret, tmp_path
):
    """The sealer runs history again without one member's first record, and seals it anew."""
    genesis = small.federation.engine.genesis
    forger = Solo(LedgerStore(tmp_path / "second.db"), genesis, sealer_secret)
    left_out = False
    for block in small.federation.engine.blocks(1):
        for wire in block.transactions:
            body = parse_transaction(wire, genesis.limits).body
            if not left_out and body.sender == "north" and isinstance(body.message, Collect):
                left_out = block.header.height > 2
                if left_out:
                    continue
            try:
                forger.submit(wire)
            except TallyError:
                continue
        forger.seal(block.header.time)
    while forger.state.get(LIVE):
        forger.seal(forger.head.time + 3_600_000)
    forged = tmp_path / "forged.tally"
    write_bundle(forged, forger, small.task)
    report = verify(forged, small.genesis)

    assert "closing-signatures" in failed(report)
    assert report.closing_signatures["signed"] == 0


def test_fewer_closing_signatures_than_asked_for_fail(eventful):
    enough = verify(eventful.bundle, eventful.genesis, min_signers=6)
    too_few = verify(eventful.bundle, eventful.genesis, min_signers=7)

    assert enough.closing_signatures == {"members": 7, "signed": 6}
    assert enough.ok
    assert failed(too_few) == ["closing-signatures"]


@pytest.mark.parametrize("least", [None, 1, 2])
def test_signatures_in_a_history_cut_short_are_not_counted(small, sealer_secret, tmp_path, least):
    cut = cut_short(small, sealer_secret, tmp_path)
    report = verify(cut, small.genesis, min_signers=least)
    history = verify(cut, small.genesis, min_signers=0)

    assert failed(report) == ["closing-signatures"]
    assert "is still running" in report.checks[5].says
    assert history.ok
    assert history.status == "running"
    assert "nobody has co-signed a result" in history.checks[5].says
    assert "2 of" not in history.checks[5].says


def test_signatures_over_a_closings_draft_are_not_over_the_model_before_it(
    play_watched, sealer_secret, tmp_path
):
    made = play_watched(amend=lambda terms: msgspec.structs.replace(terms, close=terms.round))
    cut = cut_short(made, sealer_secret, tmp_path)
    before = tmp_path / "before.safetensors"
    root = made.history.models[0][1].root
    before.write_bytes(made.federation.blobs.open(root).tobytes())

    assert made.history.models[0][1] != made.history.model
    for least in (None, 1, 2):
        report = verify(cut, made.genesis, model=before, min_signers=least)
        assert failed(report) == ["closing-signatures"]
    assert verify(made.bundle, made.genesis, model=made.model, replay=True)


def test_a_task_without_a_result_says_so_wherever_it_is_told(play_watched, capsys):
    made = play_watched(
        conduct=assign([parse_attack("absentee=2")], ["east", "north", "west"]),
        amend=lambda terms: msgspec.structs.replace(terms, rounds=4),
    )
    refused = verify(made.bundle, made.genesis)
    report = verify(made.bundle, made.genesis, min_signers=0, replay=True)
    status = main(["verify", str(made.bundle), "--genesis", made.genesis, "--min-signers", "0"])

    assert status == 0
    assert "of a history without a result: the task is void" in capsys.readouterr().out
    assert made.history.status == "void"
    assert failed(refused) == ["closing-signatures"]
    assert report.ok
    assert report.to_json()["status"] == "void"
    assert "ended void" in report.checks[5].says
    assert "co-signed the final model" not in report.checks[5].says
    assert report.checks[6].says == "the log has no attested output to repeat"
