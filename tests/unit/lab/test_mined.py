"""A task over mined blocks ends as it would with one sealer, whatever branches die."""

from dataclasses import replace

import pytest

from tallystick.errors import ConfigError
from tallystick.lab.attacks.absentee import Absentee
from tallystick.lab.demos.forks import Spoken, fork_checks, said_in
from tallystick.lab.demos.world import build_world
from tallystick.lab.mined import Mining, run_mined
from tallystick.ledger.messages import Collect
from tallystick.provenance.history import parse_signed

pytest.importorskip("sklearn")

FAST = Mining(miners=3, rate=0.4, confirmations=6)


@pytest.fixture(scope="module")
def world():
    return build_world("fl-block", members=5, rounds=1, seed=4, data="wine", kind="device")


@pytest.fixture(scope="module")
def mined(world, tmp_path_factory):
    return run_mined(world, tmp_path_factory.mktemp("mined"), FAST)


@pytest.mark.parametrize("tries", [1, 64])
def test_a_mined_task_keeps_its_promises(world, tries):
    checks = list(fork_checks(world, "6-", replace(FAST, tries=tries, rate=0.6)))

    assert [check.id for check in checks if not check.ok] == []
    assert all(check.id.startswith("6-fork-") for check in checks)


def test_reveals_follow_their_seals_at_the_depth_asked_for(mined):
    depths = said_in(mined.node.branch).depths

    assert len(depths) > 5
    assert min(depths) > FAST.confirmations


def test_all_that_was_mined_is_on_the_branch_or_orphaned(mined):
    assert len(mined.orphaned) + mined.node.tip.height == len(mined.network.mined)
    assert {node.tip for node in mined.network.nodes} == {mined.node.tip}
    assert mined.row.status == "done"


def test_one_seed_is_one_history(world, mined, tmp_path):
    again = run_mined(world, tmp_path, FAST)

    assert [block.header for block in again.network.mined] == [
        block.header for block in mined.network.mined
    ]


def test_members_say_nothing_twice_while_the_ledger_is_behind_them(world, tmp_path):
    said = []

    def watch(network):
        wires = [wire for node in network.nodes for wire in node.outbox]
        for body in map(parse_signed, wires):
            if isinstance(body.message, Collect):
                said.extend(
                    (body.sender, entry.phase, entry.round, entry.stage, type(entry.record))
                    for entry in body.message.entries
                )

    run_mined(world, tmp_path, FAST, watch=watch)

    assert len(said) > 30
    assert len(said) == len(set(said))


def test_a_dead_member_delays_a_mined_task_and_does_not_stop_it(world, tmp_path):
    dead = world.members[-1]
    longer = replace(world, rounds=3)  # a round whose committee needs the dead one is void
    mined = run_mined(longer, tmp_path, replace(FAST, rate=0.05), conduct={dead: Absentee()})

    assert mined.row.status == "done"
    assert mined.row.model.root != mined.terms.model.root


def test_what_is_said_twice_or_without_a_seal_is_seen():
    name, other = (1, 1, "update", "", "a"), (1, 1, "update", "", "b")
    spoken = Spoken(seals={name: [3, 20]}, reveals={name: [12, 25], other: [7]})

    assert spoken.depths == [9, 5, -1]


@pytest.mark.parametrize("miners", [0, 6])
def test_more_miners_than_members_are_refused(world, tmp_path, miners):
    with pytest.raises(ConfigError, match=f"{miners} of 5 members"):
        run_mined(world, tmp_path, replace(FAST, miners=miners))
