"""Training in child processes: nobody waits for it but virtual time."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from support.sites import NAMES, Site, run_until, terms_of, window_of

import tallystick as ts
from tallystick.federation.child import Child, Children
from tallystick.federation.trainer import as_trainer

PATIENCE_SECONDS = 60


def wait_for(path):
    """Return once a file is there."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return path.exists()


class Gated(Site):
    """Trains slow tasks only once a file is there; writes down the process it trains in."""

    folder = Path()

    def train(self, parameters, config):
        if config.get("slow"):
            (self.folder / f"pid-{config['member']}").write_text(str(os.getpid()))
            assert wait_for(self.folder / "gate")
        return super().train(parameters, config)


@pytest.fixture
def gated(tmp_path):
    """Sites whose gate is in a folder of its own."""
    (tmp_path / "gates").mkdir()

    def site():
        made = Gated()
        made.folder = tmp_path / "gates"
        return made

    return site


def alive(number):
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True


def test_attesting_goes_on_while_another_tasks_training_is_under_way(federation, gated, tmp_path):
    fed = federation(tmp_path / "run", gated, isolate=True)
    slow = fed.propose(terms_of(tmp_path / "run", "slow", rounds=1, train={"slow": True}))
    run_until(fed, slow, "update", "seal")
    quick = fed.propose(terms_of(tmp_path / "run", "quick", rounds=1, owner="b"))
    for _ in range(400):
        for member in fed.members.values():
            member.step()
        if fed.row(quick).status == "done":
            break
        if fed.engine.pending:
            fed.engine.seal(fed.engine.head.time + 1)
    busy = [member.busy for member in fed.members.values()]
    (tmp_path / "gates" / "gate").touch()
    row = fed.run(slow)

    assert fed.row(quick).status == "done"
    assert any(busy)
    assert row.status == "done"
    assert not any(member.busy for member in fed.members.values())


def test_children_end_with_the_federation(federation, gated, tmp_path):
    fed = federation(tmp_path / "run", gated, isolate=True)
    task = fed.propose(terms_of(tmp_path / "run", rounds=1, train={"slow": True}))
    run_until(fed, task, "update", "seal")
    fed.members["a"].step()
    assert wait_for(tmp_path / "gates" / "pid-a")
    time.sleep(0.05)  # the number is written after the file is made
    child = int((tmp_path / "gates" / "pid-a").read_text())
    fed.close()

    assert not alive(child)


def test_a_child_that_nobody_asks_for_any_more_is_ended(federation, gated, tmp_path):
    fed = federation(tmp_path / "run", gated, isolate=True)
    task = fed.propose(terms_of(tmp_path / "run", rounds=1, train={"slow": True}))
    run_until(fed, task, "update", "seal")
    member = fed.members["a"]
    member.step()
    assert member.busy
    while window_of(fed, task) == ("update", "seal"):
        fed.engine.seal(fed.engine.head.time + 600_000)
    member.step()

    assert not member.busy


def work(folder, name):
    (folder / name).touch()
    met = wait_for(folder / "a") and wait_for(folder / "b")
    return {}, {"met": met}


def test_as_many_children_as_allowed_run_at_once(tmp_path):
    children = Children(2)
    first = children.start(work, (tmp_path, "a"), limit_seconds=None)
    second = children.start(work, (tmp_path, "b"), limit_seconds=None)
    third = children.start(work, (tmp_path, "c"), limit_seconds=None)
    facts = [children.collect(child)[1] for child in (first, second)]

    assert third is None
    assert facts == [{"met": True}, {"met": True}]
    children.wait()  # somebody was turned away, and there is room now
    children.end(children.start(work, (tmp_path, "c"), limit_seconds=None))


def test_a_child_is_ready_once_its_limit_has_passed(tmp_path):
    child = Child(time.sleep, (600,), limit_seconds=0.0)
    ready = child.is_ready

    with pytest.raises(ts.TallyError, match="did not end within 0 seconds"):
        child.result()
    assert ready


def simulate(out, **options):
    sites = {name: Site() for name in NAMES}
    task = ts.Task(name="t", recipe="bflc", rounds=2)
    return ts.simulate(task, sites, seed=1, out=out, durable=False, **options)


def test_roots_do_not_depend_on_where_training_runs(tmp_path):
    inline = simulate(tmp_path / "inline")
    isolated = simulate(tmp_path / "isolated", isolate=True)

    assert isolated.model_root == inline.model_root
    assert isolated.state_root == inline.state_root


def test_a_child_that_dies_or_raises_costs_its_turn_with_a_reason(tmp_path):
    class Fails(Site):
        def train(self, parameters, config):
            if config["member"] == "a":
                os.kill(os.getpid(), signal.SIGKILL)
            if config["member"] == "b":
                raise KeyError("the rows are gone")
            return {"w": parameters["w"] + np.float32(1)}, 1

    sites = {name: as_trainer(Fails()) for name in "abcdefgh"}
    task = ts.Task(name="t", recipe="chain-fl", rounds=1)
    run = ts.simulate(task, sites, out=tmp_path / "run", durable=False, isolate=True)
    log = (tmp_path / "run" / "run.log").read_text(encoding="utf-8")

    assert (run.status, run.completed) == ("done", 1)
    assert log.count("a loses its turn: the training process ended without a result") == 1
    assert log.count("b loses its turn: train() raised KeyError") == 1
    assert "in train" in log
