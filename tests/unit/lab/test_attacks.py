from __future__ import annotations

import numpy as np
import pytest

from tallystick.errors import ConfigError
from tallystick.lab.attacks import (
    Attack,
    all_attacks,
    assign,
    make_attack,
    parse_attack,
)
from tallystick.lab.attacks.attack import WINDOWS
from tallystick.mechanisms.records import Subject

PARENT = {"b": np.array([1.0, -2.0], np.float32), "steps": np.array(3), "w": np.eye(2, dtype="f4")}
TRAINED = {name: array + array.dtype.type(2) for name, array in PARENT.items()}
SUBJECTS = [Subject(id=bytes([index]) * 32, author=name) for index, name in enumerate("abc")]
NAMES = [
    "absentee",
    "copier",
    "free-rider",
    "gaussian",
    "label-flip",
    "lying-scorer",
    "replacement",
    "sign-flip",
    "withholder",
]


def dice(seed=0):
    return np.random.default_rng(seed)


def test_every_attack_is_found_by_its_name():
    assert list(all_attacks()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_file_is_named_as_the_attack_and_says_what_its_author_knows(name):
    kind = all_attacks()[name]

    assert kind.__module__.rpartition(".")[2] == name.replace("-", "_")
    assert "Its author" in kind.__doc__


@pytest.mark.parametrize("name", ["honest", *NAMES])
def test_what_an_attack_is_given_stays_as_it_was(name):
    attack = Attack() if name == "honest" else make_attack(name)
    x, y = np.arange(6.0).reshape(3, 2), np.array([0, 1, 2])
    trained = {key: array.copy() for key, array in TRAINED.items()}
    parent = {key: array.copy() for key, array in PARENT.items()}
    vector = [8000, 7000, None, 6000]
    attack.poison_data(x, y, ("p", "q", "r"), dice())
    submitted = attack.poison_update(trained, parent, dice())
    attack.poison_scores(vector, SUBJECTS, frozenset("a"))

    assert np.array_equal(x, np.arange(6.0).reshape(3, 2))
    assert y.tolist() == [0, 1, 2]
    assert vector == [8000, 7000, None, 6000]
    for key, array in PARENT.items():
        assert np.array_equal(trained[key], TRAINED[key])
        assert np.array_equal(parent[key], array)
        assert submitted[key].dtype == array.dtype
        assert submitted[key].shape == array.shape


def test_the_base_is_honest_throughout():
    attack = Attack()
    x, y = np.zeros((2, 1)), np.zeros(2)

    assert attack.poison_data(x, y, None, dice()) == (x, y)
    assert attack.poison_update(TRAINED, PARENT, dice()) is TRAINED
    assert attack.poison_scores([1, 2, 3, 4], SUBJECTS, frozenset()) == [1, 2, 3, 4]
    assert not attack.copies
    assert all(attack.present("update", window, 1) for window in WINDOWS)


@pytest.mark.parametrize(("text", "strength"), [("sign-flip", 1), ("sign-flip:4", 4)])
def test_a_sign_flip_goes_the_honest_way_backwards(text, strength):
    submitted = make_attack(text).poison_update(TRAINED, PARENT, dice())

    for name, array in PARENT.items():
        assert np.array_equal(submitted[name], array - 2 * strength)


def test_gaussian_noise_has_the_size_asked_for_and_comes_from_the_dice():
    parent = {"w": np.full(4000, 5, np.float32)}
    first, again, other = (
        make_attack("gaussian:0.5").poison_update(parent, parent, dice(seed))["w"]
        for seed in (1, 1, 2)
    )

    assert np.std(first - 5) == pytest.approx(0.5, rel=0.1)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_flipped_labels_are_mirrored_and_quantities_change_sign():
    attack = make_attack("label-flip")
    x = np.zeros((3, 1))

    assert attack.poison_data(x, np.array([0, 1, 2]), ("p", "q", "r"), dice())[1].tolist() == [
        2,
        1,
        0,
    ]
    assert attack.poison_data(x, np.array([0.0, 1.5, -2]), None, dice())[1].tolist() == [0, -1.5, 2]


def test_a_free_rider_hands_back_a_copy_of_the_model():
    submitted = make_attack("free-rider").poison_update(TRAINED, PARENT, dice())

    for name, array in PARENT.items():
        assert np.array_equal(submitted[name], array)
        assert not np.shares_memory(submitted[name], array)


def test_a_copier_copies():
    assert make_attack("copier").copies


def test_a_liar_praises_its_allies_and_keeps_the_vectors_form():
    liar = make_attack("lying-scorer")

    assert liar.poison_scores([1, 2, 3, None], SUBJECTS, frozenset("bc")) == [9000, 0, 10_000, None]
    assert liar.poison_scores([1, 2, 3], SUBJECTS, frozenset("a")) == [10_000, 0, 0]


def test_an_absentee_leaves_after_setup_and_a_withholder_at_each_reveal():
    absent, withholds = make_attack("absentee"), make_attack("withholder")

    for window in WINDOWS:
        assert absent.present("update", window, 0)
        assert not absent.present("update", window, 1)
        assert withholds.present("update", window, 0)
        assert withholds.present("update", window, 5) == (window != "reveal")


def test_one_member_may_do_several_things():
    (attack,) = assign([parse_attack("sign-flip:4+label-flip+copier+absentee=1")], ["m"]).values()
    submitted = attack.poison_update(TRAINED, PARENT, dice())
    _, labels = attack.poison_data(np.zeros((2, 1)), np.array([0, 1]), ("p", "q"), dice())

    assert attack.label == "sign-flip:4+label-flip+copier+absentee"
    assert np.array_equal(submitted["b"], PARENT["b"] - 8)
    assert labels.tolist() == [1, 0]
    assert attack.copies
    assert not attack.present("update", "seal", 1)
    assert attack.poison_scores([5, 6, 7, 8], SUBJECTS, frozenset()) == [5, 6, 7, 8]


def test_each_attack_alters_what_the_one_before_it_left():
    (attack,) = assign([parse_attack("free-rider+sign-flip:4=1")], ["m"]).values()
    submitted = attack.poison_update(TRAINED, PARENT, dice())

    assert all(np.array_equal(submitted[name], PARENT[name]) for name in PARENT)


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
        ("sign-flip:0=1", "a number above 0"),
        ("sign-flip:inf=1", "a number above 0"),
        ("copier:2=1", "takes no strength"),
        ("sign-flip+sign-flip:4=1", "names one attack twice"),
    ],
)
def test_what_does_not_follow_the_grammar_is_refused(text, says):
    with pytest.raises(ConfigError, match=says):
        parse_attack(text)


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
