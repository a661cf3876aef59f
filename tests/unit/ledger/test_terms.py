"""What is refused before a task starts: every problem named, with its stage."""

import msgspec
import pytest
from support.play import Play
from support.terms import (
    ABORT,
    FUND,
    MEMBERS,
    MODEL,
    SCREEN,
    TRAINERS,
    chain_fl,
    make_terms,
    simple,
    stage,
    update_stage,
)
from support.world import World, digest

from tallystick.ledger.collect.installed import UninstalledRuleError
from tallystick.ledger.collect.recipe import (
    BadTermsError,
    check_terms,
    parse_reference,
    parse_who,
    plan_of,
)
from tallystick.ledger.collect.rows import LIVE
from tallystick.ledger.contracts.tasks import MOST_LIVE, MOST_OWN, NotOwnerError
from tallystick.ledger.messages import ProposeTask
from tallystick.ledger.terms import Need, Pin, Roster, Short, task_id
from tallystick.tensors.spec import Parameter

UPDATE = update_stage()
PLAIN = stage("decide", "decide/all/1", of="update")


def changed(each, **fields):
    return msgspec.structs.replace(each, **fields)


def terms_with(*extra, setup=(), close=(), **fields):
    return make_terms((TRAINERS, UPDATE, PLAIN, *extra), setup, close, **fields)


def two(first, second):
    return {"rosters": (Roster("members", MEMBERS), Roster(first, second))}


WHOLE = {
    "of version 2": (terms_with(version=2), "version"),
    "without rounds": (terms_with(rounds=0), "rounds"),
    "of too many rounds": (terms_with(rounds=100_001), "rounds"),
    "without stages": (make_terms(()), "needs a stage that asks"),
    "without an approval window": (terms_with(approve_within=0), "approve_within"),
    "without a gap": (terms_with(gap=0), "gap"),
    "held by nobody": (terms_with(holders="nobody"), "holders 'nobody'"),
    "without members": (changed(terms_with(), rosters=()), "'members' is one of them"),
    "of no members": (changed(terms_with(), rosters=(Roster("members", ()),)), "empty"),
    "with unsorted rosters": (
        changed(terms_with(), rosters=(Roster("zz", MEMBERS), Roster("members", MEMBERS))),
        "rosters are sorted",
    ),
    "with an unsorted roster": (changed(terms_with(), **two("zz", MEMBERS[::-1])), "sorted"),
    "with a member twice": (changed(terms_with(), **two("zz", ("alpha", "alpha"))), "named once"),
    "whose weights could wrap": (terms_with(weights=("declared", 2**13)), "weight cap"),
    "with an unsorted model": (
        terms_with(
            model=changed(MODEL, parameters=(Parameter("b", (), "F32"), Parameter("a", (), "F32")))
        ),
        "names are sorted",
    ),
    "with an empty model": (terms_with(model=changed(MODEL, parameters=())), "no parameters"),
    "with a model no file can hold": (
        terms_with(model=changed(MODEL, parameters=(Parameter("x", (1,), "I32", -24),))),
        "exponent",
    ),
    "that wait for approval for years": (terms_with(approve_within=2**40), "90 days"),
}


@pytest.mark.parametrize("why", WHOLE)
def test_terms_are_refused(why):
    terms, says = WHOLE[why]

    with pytest.raises(BadTermsError, match=says) as refused:
        check_terms(terms, trial=True, faults=0)
    assert refused.value.code == 520


STAGES = {
    "an unknown parameter": (stage("x", "decide/all/1", of="update", k=3), "no parameter 'k'"),
    "a refused parameter": (
        stage("x", "select/beacon/1", source="members", seats=4),
        "odd number of seats",
    ),
    "a parameter of another type": (
        stage("x", "decide/screened/1", of="update", cohort="three"),
        "cohort",
    ),
    "a name used before": (changed(PLAIN, name="update"), "appears twice"),
    "a reserved name": (stage("members", "select/all/1", source="members"), "reserved"),
    "a roster that must not be written": (
        stage("x", "select/named/1", source="members", into=("members",)),
        "reserved",
    ),
    "a seal on the ledger": (changed(PLAIN, name="x", sealed=True), "sealed"),
    "a seal on signatures": (changed(SCREEN, name="x", sealed=True), "sealed"),
    "nobody to ask": (changed(UPDATE, name="x", who=""), "needs 'who'"),
    "no window": (changed(UPDATE, name="x", within=0), "needs 'within'"),
    "no reveal window": (changed(UPDATE, name="x", reveal=0), "needs 'reveal'"),
    "no hold window": (changed(UPDATE, name="x", hold=0), "needs 'hold'"),
    "an endless window": (changed(UPDATE, name="x", within=2**63 - 1), "ten years"),
    "a bond from nobody": (changed(PLAIN, name="x", bond=5), "bond"),
    "a forfeit from signers": (changed(SCREEN, name="x", forfeit=5), "bond"),
    "a reference its rule does not take": (
        changed(PLAIN, name="x", refs=(("clip_over", "update"),)),
        "no reference 'clip_over'",
    ),
    "an abort of a round": (changed(UPDATE, name="x", short=ABORT), "abort"),
    "no reference at all": (changed(PLAIN, name="x", of=("update@",)), "not a reference"),
    "a stage that comes later": (changed(PLAIN, name="x", of=("later",)), "'later'"),
    "itself": (changed(PLAIN, name="x", of=("x",)), "'x'"),
    "an unknown round": (changed(PLAIN, name="x", of=("later@-1",)), "'later@-1'"),
    "the zeroth round back": (changed(PLAIN, name="x", of=("update@-0",)), "not a reference"),
    "an unknown parent": (changed(UPDATE, name="x", parent="later"), "'later'"),
    "the name of a stage every task has": (changed(UPDATE, name="approve"), "every task has"),
    "more lists than its rule reads": (
        changed(SCREEN, name="x", rule="screen/standard/1", of=("update", "decide"), parameters=()),
        "its rule reads 1",
    ),
    "an unknown roster": (changed(UPDATE, name="x", who="judges"), "no roster 'judges'"),
    "an unknown source": (stage("x", "select/all/1", source="judges"), "no roster 'judges'"),
    "no roster expression": (changed(UPDATE, name="x", who="members -"), "is not a roster"),
    "a need beyond its roster": (changed(UPDATE, name="x", need=Need(5)), "of at most 4"),
    "a need for more than all": (changed(UPDATE, name="x", need=Need(1, 1)), "needs more than"),
    "groups of nobody": (changed(PLAIN, name="x", per_group=True), "who"),
}


@pytest.mark.parametrize("why", STAGES)
def test_a_stage_with_a_fault_is_refused_by_name(why):
    wrong, says = STAGES[why]
    terms = terms_with(wrong)

    with pytest.raises(BadTermsError, match=says) as refused:
        check_terms(terms, trial=True, faults=0)
    assert f"stage '{wrong.name}'" in str(refused.value)


def test_every_fault_planted_above_is_the_only_one():
    check_terms(terms_with(), trial=True, faults=0)
    check_terms(terms_with(changed(PLAIN, name="x")), trial=True, faults=0)
    check_terms(terms_with(changed(UPDATE, name="x")), trial=True, faults=0)
    check_terms(terms_with(changed(SCREEN, name="x")), trial=True, faults=0)


BYTE = stage("x", "screen/test-byte/1", of="update", who="members")


@pytest.mark.parametrize(
    ("terms", "says"),
    [
        (terms_with(stage("x", "decide/unheard-of/1")), "stage 'x': .* is not installed here"),
        (terms_with(BYTE, pins=()), "stage 'x': .* not the one the terms pin"),
        (
            terms_with(BYTE, pins=(Pin("screen/test-byte/1", digest("other")),)),
            "stage 'x': .* not the one the terms pin",
        ),
        (
            terms_with(PLAIN, pins=(Pin("decide/all/1", digest("other")),)),
            "not the one the terms pin",
        ),
    ],
    ids=["unknown", "nobody pinned it", "pinned by another digest", "pinned though built in"],
)
def test_terms_with_a_rule_that_is_not_here_are_not_judged(terms, says):
    with pytest.raises(UninstalledRuleError, match=says):
        check_terms(terms, trial=True, faults=0)


def test_a_round_that_asks_nobody_is_refused():
    with pytest.raises(BadTermsError, match="needs a stage that asks"):
        check_terms(make_terms((TRAINERS,)), trial=True, faults=0)


def test_a_drawn_roster_is_as_large_as_its_seats():
    draw = stage("draw", "select/lottery/1", source="members", seats=2, into=("trainers",))
    enough, more = (make_terms((draw, changed(UPDATE, need=Need(n)))) for n in (2, 3))

    check_terms(enough, trial=True, faults=0)
    with pytest.raises(BadTermsError, match="of at most 2"):
        check_terms(more, trial=True, faults=0)


def test_what_is_taken_from_a_roster_it_was_drawn_from_leaves_fewer():
    draw = stage("draw", "select/beacon/1", source="members", seats=3)
    rest = stage("rest", "select/all/1", source="members - draw")
    enough, more = (
        make_terms((draw, rest, changed(UPDATE, who="rest", need=n))) for n in (Need(1), Need(2))
    )
    apart = make_terms(
        (draw, changed(UPDATE, who="members - zz", need=Need(4))), rosters={"zz": ("zulu",)}
    )

    check_terms(enough, trial=True, faults=0)
    check_terms(apart, trial=True, faults=0)
    with pytest.raises(BadTermsError, match="of at most 1"):
        check_terms(more, trial=True, faults=0)


def test_more_artefacts_than_one_output_can_list_are_refused():
    def among(count):
        names = tuple(f"m{at:04}" for at in range(count))
        return make_terms((changed(UPDATE, who="members"), PLAIN), members=names)

    check_terms(among(512), trial=True, faults=0)
    with pytest.raises(BadTermsError, match="512 are possible"):
        check_terms(among(513), trial=True, faults=0)


def test_rules_on_a_model_and_on_commitments_need_one():
    screen = stage("screen", "screen/standard/1", of="update", who="members")
    mean = stage("mean", "aggregate/mean/1", of="screen", who="members")
    committed = {"weights": ("committed", 5)}
    commitment = stage("commitment", "submit/commitment/1", who="members")

    with pytest.raises(BadTermsError, match="the terms name none"):
        check_terms(terms_with(screen, model=None), trial=True, faults=0)
    with pytest.raises(BadTermsError, match="no stage 'commitment'"):
        check_terms(terms_with(screen, mean, **committed), trial=True, faults=0)
    check_terms(terms_with(screen, mean, setup=(commitment,), **committed), trial=True, faults=0)


@pytest.mark.parametrize("name", ["within", "reveal", "hold"])
@pytest.mark.parametrize("faults", [0, 1, 5])
def test_windows_outlast_the_gaps_of_faulty_validators(name, faults):
    gap = 1000
    shortest = (faults + 2) * gap
    fine = make_terms((TRAINERS, changed(UPDATE, **{name: shortest})), gap=gap)
    short = make_terms((TRAINERS, changed(UPDATE, **{name: shortest - 1})), gap=gap)

    check_terms(fine, trial=False, faults=faults)
    check_terms(short, trial=True, faults=faults)
    with pytest.raises(BadTermsError, match=f"stage 'update': {name} of"):
        check_terms(short, trial=False, faults=faults)


def test_approval_has_a_window_like_any_other():
    with pytest.raises(BadTermsError, match="stage 'approve'"):
        check_terms(terms_with(gap=1000, approve_within=1999), trial=False, faults=0)


def test_abort_is_for_setup_only():
    fund = changed(FUND, short=Short(1, "abort"))

    check_terms(make_terms((TRAINERS, UPDATE), (fund,)), trial=True, faults=0)
    with pytest.raises(BadTermsError, match="stage 'fund': 'abort'"):
        check_terms(make_terms((TRAINERS, UPDATE), (), (fund,)), trial=True, faults=0)


def test_references_see_their_list_then_setup_then_in_close_the_rounds():
    fold = stage("fold", "decide/all/1", of="fund")
    last = stage("last", "decide/all/1", of="update")

    check_terms(make_terms((TRAINERS, UPDATE, fold), (FUND,), (last,)), trial=True, faults=0)
    with pytest.raises(BadTermsError, match="'update'"):
        check_terms(make_terms((TRAINERS, UPDATE), (last,)), trial=True, faults=0)


def test_rosters_that_stages_write_can_be_asked_from_then_on():
    early = changed(UPDATE, name="early")

    with pytest.raises(BadTermsError, match="no roster 'trainers'"):
        check_terms(make_terms((early, TRAINERS, UPDATE)), trial=True, faults=0)


def test_a_stage_may_be_called_parties():
    joined = stage("parties", "join/test-parties/1", who="members", short=ABORT)

    check_terms(make_terms((changed(UPDATE, who="parties"),), (joined,)), trial=True, faults=0)


@pytest.mark.parametrize(
    ("text", "found"),
    [("a", ("a", 0)), ("a@-1", ("a", 1)), ("a.b-c@-12", ("a.b-c", 12))],
)
def test_references_name_a_stage_and_how_far_back(text, found):
    assert parse_reference(text) == found


@pytest.mark.parametrize("text", ["", "a@1", "a@-", "a@-0", "a@-01", "A", "a b", "@-1", "a@-1@-1"])
def test_other_texts_are_no_references(text):
    with pytest.raises(BadTermsError):
        parse_reference(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a", ((True, "a", False),)),
        ("a:other", ((True, "a", True),)),
        ("a - b + c", ((True, "a", False), (False, "b", False), (True, "c", False))),
    ],
)
def test_rosters_are_names_added_and_taken_away(text, found):
    assert parse_who(text) == found


@pytest.mark.parametrize("text", ["", "a b", "a -", "- a", "a:others", "a & b", "a-b:c"])
def test_other_texts_are_no_rosters(text):
    with pytest.raises(BadTermsError):
        parse_who(text)


def test_a_plan_reaches_back_as_far_as_its_references_do():
    deep = stage("deep", "decide/all/1", of="update@-3")

    assert plan_of(terms_with()).depth == 1
    assert plan_of(terms_with(deep)).depth == 3
    assert plan_of(chain_fl()).model_stage == "aggregate"


# --- proposing ------------------------------------------------------------------------------------


def test_only_the_owner_proposes():
    world = World()

    assert type(world.refused("bravo", ProposeTask(simple()))) is NotOwnerError


def test_the_parties_are_members():
    world = World()
    terms = simple(rosters={"auditors": ("zulu",)})

    assert "'zulu' is not an active member" in str(world.refused("alpha", ProposeTask(terms)))


def test_a_task_and_its_name_are_taken_once():
    world = World()
    world.accept("alpha", ProposeTask(simple()))

    assert world.refused("alpha", ProposeTask(simple())).code == 520
    assert world.refused("alpha", ProposeTask(simple(edition=1))).code == 520
    world.accept("alpha", ProposeTask(simple(name="other")))


def test_bad_terms_are_refused_in_a_transaction():
    world = World()
    error = world.refused("alpha", ProposeTask(terms_with(rounds=0)))

    assert type(error) is BadTermsError


def test_nobody_takes_all_the_places_for_tasks():
    world = World(audited=False)
    for at in range(MOST_OWN):
        world.accept("alpha", ProposeTask(simple(name=f"t{at}", approve_within=10**9, gap=10**9)))

    assert "end one first" in str(world.refused("alpha", ProposeTask(simple(name="more"))))
    world.accept("bravo", ProposeTask(simple(name="more", owner="bravo")))


def test_the_places_for_tasks_are_shared_equally():
    names = tuple(f"m{at}" for at in range(9))
    share = MOST_LIVE // len(names)
    world = World(names, audited=False)
    for at in range(8 * share):
        owner = names[at % 8]
        world.send(owner, ProposeTask(simple(name=f"t{at}", members=(owner,), gap=10**9)))
    world.seal()

    assert len(world.state.get(LIVE)) == 8 * share
    more = simple(name="more", members=(names[0],))
    assert "end one first" in str(world.refused(names[0], ProposeTask(more)))
    world.accept(names[8], ProposeTask(simple(name="last", members=(names[8],))))


def test_terms_that_equal_others_by_value_are_not_taken_for_them():
    def drawn(seats):
        draw = stage("draw", "select/beacon/1", source="members", seats=seats)
        return make_terms((draw, changed(UPDATE, who="members"), PLAIN))

    assert drawn(1) == drawn(True)  # True is 1, and another agreement
    check_terms(drawn(1), trial=True, faults=0)
    with pytest.raises(BadTermsError, match="seats"):
        check_terms(drawn(True), trial=True, faults=0)


def test_the_task_is_named_by_its_terms_on_every_ledger():
    here, there = Play(World(), chain_fl()), Play(World(name="other"), chain_fl())

    assert here.task == there.task == task_id(chain_fl())
    assert task_id(chain_fl(edition=1)) != here.task
    assert here.row.beacon == there.row.beacon
