"""Whatever a round's members need is named by the ledger from when they need it on."""

from contextlib import closing

import pytest
from support.sites import federation, terms_of, window_of

from tallystick.ledger.collect.rows import RECORDS, STAGES
from tallystick.ledger.collect.view import view_task
from tallystick.mechanisms.records import Artefact
from tallystick.node.naming import author_of, named_blobs


def wanted(view):
    """Return what members are asked about right now, each with who revealed it, in any order."""
    step = view.step
    if step is None:
        return {}
    found = {view.parent(step)[0]: {""}}
    for key in view.row.open:
        stage = view.state.get(STAGES, key)
        for seat in stage.roster:
            row = view.state.get(RECORDS, key, seat.member)
            if row is not None and isinstance(row.record, Artefact) and row.record.size:
                first = view.first_author(row.record.root) or seat.member
                found.setdefault(row.record.root, {first}).add(seat.member)
    for reference in step.stage.of:
        for subject in view.output(reference, step.phase, step.position).live:
            if view.first_author(subject.id):
                found[subject.id] = {view.first_author(subject.id)}
    found.pop(b"", None)
    return found


@pytest.mark.parametrize("recipe", ["chain-fl", "standard", "bflc"])
def test_what_members_are_asked_about_is_named_in_every_block(recipe, tmp_path):
    with closing(federation(tmp_path)) as fed:
        task = fed.propose(terms_of(tmp_path, recipe=recipe))
        windows, most = set(), 0
        for _ in fed.blocks(task):
            state = fed.engine.state
            named = named_blobs(state, task)
            needed = wanted(view_task(state, task))
            windows.add(window_of(fed, task)[1])
            most = max(most, len(named))

            assert needed.keys() <= named.keys()
            assert all(named[root] in authors for root, authors in needed.items())
            assert {root: author_of(state, task, root) for root in named} == named

        assert {"reveal", "hold", "attest"} <= windows
        assert most >= 4


def test_a_task_that_is_not_there_names_nothing(tmp_path):
    with closing(federation(tmp_path)) as fed:
        assert named_blobs(fed.engine.state, bytes(32)) == {}
        assert author_of(fed.engine.state, bytes(32), bytes(32)) == ""
