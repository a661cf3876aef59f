"""One run, one process: whoever comes second is refused and changes nothing."""

import json

import pytest
from support.commands import execute, start, write_task
from support.sites import NAMES, Dice, forfeits, run_until, terms_of

from tallystick.consensus.solo import Solo
from tallystick.errors import UnavailableError
from tallystick.federation.habits import Identity
from tallystick.federation.journal import Journal
from tallystick.federation.member import Member
from tallystick.mechanisms.records import Artefact, Key
from tallystick.storage.sqlite import LedgerStore

KEY = Key(bytes(32), 1, 1, "update", "")


def test_a_second_federation_on_a_folder_costs_nobody_its_bond(federation, tmp_path):
    first = federation(tmp_path, Dice)
    task = first.propose(terms_of(tmp_path))
    run_until(first, task, "update", "seal")
    with pytest.raises(UnavailableError, match=r"ledger\.db is in use"):
        federation(tmp_path, Dice)
    next(first.blocks(task))
    first.close()
    second = federation(tmp_path, Dice)
    row = second.run(task)
    lost = forfeits(second, task)
    second.close()

    assert row.status == "done"
    assert lost == []


def test_a_member_works_in_one_process(federation, tmp_path):
    fed = federation(tmp_path)
    seat = Identity("a", 0, bytes(32), bytes(32))
    with pytest.raises(UnavailableError, match="members/a is in use"):
        Member(seat, fed.engine, None, fed.workbench, tmp_path / "members" / "a")
    fed.close()


def test_a_live_ledger_can_be_read(federation, tmp_path):
    fed = federation(tmp_path)
    task = fed.propose(terms_of(tmp_path))
    reader = Solo(LedgerStore(tmp_path / "ledger.db"))

    assert reader.head == fed.engine.head
    assert list(reader.leaves(task)) == list(fed.engine.leaves(task))
    reader.close()
    fed.close()


def test_the_first_record_of_a_key_stays(tmp_path):
    journal = Journal(tmp_path / "journal")
    for size in (1, 2):
        journal.put(KEY, Artefact(bytes(32), size))
    journal.close()
    again = Journal(tmp_path / "journal")

    assert again.get(KEY).size == 1
    again.close()


def test_a_second_command_on_a_folder_is_not_available_now_but_reading_is(tmp_path):
    task = write_task(tmp_path, rounds=400)
    out = tmp_path / "out"
    running = start("run", task, "--out", out)
    while not (out / "ledger.db").exists():
        assert running.poll() is None
    status, printed, _ = execute("run", task, "--out", out, "--json")
    reading = [execute(verb, out, "--json")[0] for verb in ("log", "explain")]
    alive = running.poll() is None
    running.kill()
    running.communicate()

    assert alive
    assert status == 3
    assert str(out) in json.loads(printed)["error"]["message"]
    assert json.loads(printed)["error"]["hint"]
    assert reading == [0, 0]


def test_every_member_of_a_closed_federation_can_be_opened_again(federation, tmp_path):
    for _ in range(2):
        fed = federation(tmp_path)
        assert tuple(fed.members) == NAMES
        fed.close()
