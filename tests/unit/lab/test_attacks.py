"""Attacks by name: the grammar, who attacks, and what every attack keeps to."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
from support.knowledge import NOTHING, PARENT, known, update

from tallystick.errors import ConfigError
from tallystick.federation.conduct import WINDOWS, Moment
from tallystick.lab.attacks import (
    Attack,
    Composite,
    all_attacks,
    assign,
    make_attack,
    parse_attack,
)
from tallystick.lab.attacks.attack import POISONING
from tallystick.lab.attacks.rows import add_update
from tallystick.mechanisms.records import Key, Output, Subject

PAGE = Path(__file__).parents[3] / "docs" / "attacks.md"
TRAINED = add_update(PARENT, update(1))
SUBJECTS = [Subject(id=bytes([index]) * 32, author=name) for index, name in enumerate("aef")]
NAMES = [
    "absentee",
    "alie",
    "backdoor",
    "boost",
    "copier",
    "dropout-attest",
    "dropout-hold",
    "dropout-reveal",
    "dropout-score",
    "dropout-seal",
    "free-rider",
    "gaussian",
    "hold-denier",
    "ipm",
    "junk-signature",
    "label-flip",
    "lying-scorer",
    "mimic",
    "min-max",
    "min-sum",
    "omniscient",
    "random-scorer",
    "replacement",
    "replay-rider",
    "rule-aware",
    "score-withholder",
    "sign-flip",
    "silent-scorer",
    "stale-sender",
    "sybil",
    "withholder",
    "wrong-aggregate",
]
STRONG = [name for name in NAMES if all_attacks()[name].default_strength is not None]
POISONERS = {
    "alie",
    "backdoor",
    "boost",
    "copier",
    "free-rider",
    "gaussian",
    "ipm",
    "label-flip",
    "mimic",
    "min-max",
    "min-sum",
    "replacement",
    "replay-rider",
    "rule-aware",
    "sign-flip",
    "stale-sender",
    "sybil",
}
ALL = [*NAMES, "replay-rider:0.1", "mimic+omniscient", "rule-aware+omniscient", "min-max+sybil"]


def dice(seed=0):
    return np.random.default_rng(seed)


def attack_of(text):
    return parse_attack(f"{text}=1").attack


def same(one, other):
    return all(np.array_equal(one[name], other[name]) for name in PARENT)


def test_every_attack_is_found_by_its_name():
    assert list(all_attacks()) == NAMES


def test_the_page_on_attacks_lists_them_all_with_their_strengths():
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in lines]
    listed = {row[0]: row[1] for row in rows if len(row) == 4}
    listed = {name: strength for name, strength in listed.items() if name in NAMES}

    assert sorted(listed) == NAMES
    for name, strength in listed.items():
        default = all_attacks()[name].default_strength
        assert strength.endswith(f"({default:g})") if default is not None else not strength


@pytest.mark.parametrize("name", NAMES)
def test_the_file_is_named_as_the_attack_or_its_family_and_says_what_its_author_knows(name):
    kind = all_attacks()[name]

    assert name.replace("-", "_").startswith(kind.__module__.rpartition(".")[2])
    assert "Its author" in kind.__doc__


@pytest.mark.parametrize("name", ["honest", *ALL])
@pytest.mark.parametrize("knowledge", [NOTHING, known()], ids=["nothing", "much"])
def test_what_an_attack_is_given_stays_as_it_was(name, knowledge):
    attack = Attack() if name == "honest" else attack_of(name)
    x, y = np.arange(6.0).reshape(3, 2), np.array([0, 1, 2])
    given = copy.deepcopy((x, y, TRAINED, PARENT, knowledge))
    vector, holds, output = [8000, 7000, None, 6000], [1, 0, 1], Output(tuple(SUBJECTS))
    attack.poison_data(x, y, ("p", "q", "r"), dice())
    attack.poison_update(TRAINED, PARENT, dice(), knowledge)
    attack.poison_scores(vector, SUBJECTS, dice(), knowledge)
    attack.poison_holds(holds, SUBJECTS, knowledge)
    attack.poison_output(output, "aggregate", knowledge)

    assert np.array_equal(x, given[0])
    assert np.array_equal(y, given[1])
    assert same(TRAINED, given[2])
    assert same(PARENT, given[3])
    for mine, before in (
        (knowledge.own, given[4].own),
        (knowledge.before, given[4].before),
        (knowledge.honest, given[4].honest),
    ):
        assert mine.keys() == before.keys()
        assert all(same(mine[author], before[author]) for author in mine)
    assert vector == [8000, 7000, None, 6000]
    assert holds == [1, 0, 1]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("knowledge", [NOTHING, known()], ids=["nothing", "much"])
def test_what_is_submitted_fits_the_model_and_whole_numbers_stay_whole(name, knowledge):
    submitted = attack_of(name).poison_update(TRAINED, PARENT, dice(), knowledge)

    assert submitted.keys() == PARENT.keys()
    for tensor, array in PARENT.items():
        assert submitted[tensor].dtype == array.dtype
        assert submitted[tensor].shape == array.shape
        assert np.isfinite(submitted[tensor]).all()


@pytest.mark.parametrize("name", ALL)
def test_the_same_dice_give_the_same_update(name):
    first, again = (
        attack_of(name).poison_update(TRAINED, PARENT, dice(seed), known()) for seed in (3, 3)
    )

    assert same(first, again)


@pytest.mark.parametrize("name", ["alie", "ipm", "min-max", "min-sum", "mimic", "rule-aware"])
def test_colluders_send_different_bytes_and_nearly_the_same(name):
    one, other = (
        attack_of(name).poison_update(TRAINED, PARENT, dice(seed), known(member))
        for seed, member in enumerate("ef")
    )

    assert not same(one, other)
    assert np.allclose(one["w"], other["w"], atol=0.05)


def test_the_base_is_honest_throughout():
    attack, knowledge = Attack(), known()
    x, y, output = np.zeros((2, 1)), np.zeros(2), Output(tuple(SUBJECTS))

    assert attack.poison_data(x, y, None, dice()) == (x, y)
    assert attack.poison_update(TRAINED, PARENT, dice(), knowledge) is TRAINED
    assert attack.poison_scores([1, 2, 3, 4], SUBJECTS, dice(), knowledge) == [1, 2, 3, 4]
    assert attack.poison_holds([1, 0, 1], SUBJECTS, knowledge) == [1, 0, 1]
    assert attack.poison_output(output, "aggregate", knowledge) is output
    assert attack.poison_signature(b"signed") == b"signed"
    assert attack.choose_artefact(knowledge) is None
    assert attack.choose_parent(knowledge) == knowledge.parent
    assert all(attack.present(moment("submit", window)) for window in WINDOWS)


def moment(kind, window):
    return Moment(kind, Key(bytes(32), 1, 1, "stage", ""), window)


def test_poisoners_are_those_whose_updates_are_not_honest_work():
    found = {name for name in NAMES if make_attack(name).overrides(*POISONING)}

    assert found == POISONERS
    assert attack_of("withholder+copier").overrides(*POISONING)
    assert not attack_of("withholder+lying-scorer").overrides(*POISONING)


def test_one_member_may_do_several_things():
    attack = attack_of("sign-flip:4+label-flip+stale-sender+copier+absentee+hold-denier")
    submitted = attack.poison_update(TRAINED, PARENT, dice(), known())
    alone = attack_of("sign-flip:4").poison_update(TRAINED, PARENT, dice(), known())
    _, labels = attack.poison_data(np.zeros((2, 1)), np.array([0, 1]), ("p", "q"), dice())

    assert isinstance(attack, Composite)
    assert attack.label == "sign-flip:4+label-flip+stale-sender+copier+absentee+hold-denier"
    assert same(submitted, alone)
    assert labels.tolist() == [1, 0]
    assert attack.choose_artefact(known()).root == known().last[0].id
    assert attack.choose_parent(known()) != known().parent
    assert attack.poison_holds([1, 1, 1], SUBJECTS, known()) == [0, 1, 1]
    assert not attack.present(moment("submit", "seal"))
    assert attack.poison_scores([5, 6, 7, 8], SUBJECTS, dice(), known()) == [5, 6, 7, 8]


def test_each_attack_alters_what_the_one_before_it_left():
    submitted = attack_of("free-rider+sign-flip:4").poison_update(TRAINED, PARENT, dice(), known())

    assert same(submitted, PARENT)


@pytest.mark.parametrize("text", ["sign-flip:4=2", "gaussian=1", "gaussian:0.5+lying-scorer=3"])
def test_a_plan_reads_as_it_was_written(text):
    assert parse_attack(text).label == text


def test_none_is_nobody():
    assert parse_attack("none=0").attacks == ()
    assert assign([parse_attack("none=0")], ["a", "b"]) == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sign-flip", "is not NAME"),
        ("=2", "is not NAME"),
        ("sign-flip=", "is not NAME"),
        ("sign-flip=-1", "is not NAME"),
        ("sign-flip=two", "is not NAME"),
        ("none=1", "always none=0"),
        ("signflip=1", "unknown attack 'signflip'"),
        ("sign-flip:4+=1", "unknown attack ''"),
        ("sign-flip:=1", "a number above 0"),
        ("copier:2=1", "takes no strength"),
        ("sign-flip+sign-flip:4=1", "names one attack twice"),
    ],
)
def test_what_does_not_follow_the_grammar_is_refused(text, says):
    with pytest.raises(ConfigError, match=says):
        parse_attack(text)


@pytest.mark.parametrize("name", STRONG)
@pytest.mark.parametrize("strength", ["nan", "-1", "0", "inf", "-inf", "1e300", "much"])
def test_a_strength_without_meaning_is_refused(name, strength):
    with pytest.raises(ConfigError, match="a number above 0"):
        make_attack(f"{name}:{strength}")


def test_a_probability_is_one_at_most():
    assert make_attack("dropout-seal:0.5").power == 0.5
    with pytest.raises(ConfigError, match="1 at most"):
        make_attack("dropout-seal:1.5")


@pytest.mark.parametrize("name", STRONG)
def test_the_largest_strength_still_gives_an_update_of_the_models_shape(name):
    attack = all_attacks()[name]
    submitted = attack(strength=attack.most_strength).poison_update(
        TRAINED, PARENT, dice(), known()
    )

    assert {tensor: array.shape for tensor, array in submitted.items()} == {
        tensor: array.shape for tensor, array in PARENT.items()
    }


def test_an_unknown_attack_lists_those_that_exist():
    with pytest.raises(ConfigError, match="unknown") as caught:
        parse_attack("replay=1")
    assert all(name in caught.value.hint for name in [*NAMES, "none"])


def test_the_last_members_attack_unless_others_are_named():
    plans = [parse_attack("sign-flip:4=1"), parse_attack("copier=2")]
    members = ["a", "b", "c", "d", "e"]
    last = {member: attack.label for member, attack in assign(plans, members).items()}
    named = {m: attack.label for m, attack in assign(plans, members, ["e", "a", "b"]).items()}

    assert last == {"c": "sign-flip:4", "d": "copier", "e": "copier"}
    assert named == {"e": "sign-flip:4", "a": "copier", "b": "copier"}


def test_attackers_have_to_be_members_and_as_many_as_planned():
    plans = [parse_attack("copier=2")]

    with pytest.raises(ConfigError, match="2 attackers are planned among 1 members"):
        assign(plans, ["a"])
    for attackers in (["a"], ["a", "a"], ["a", "x"], ["a", "b", "c"]):
        with pytest.raises(ConfigError, match="2 different members"):
            assign(plans, ["a", "b", "c"], attackers)
