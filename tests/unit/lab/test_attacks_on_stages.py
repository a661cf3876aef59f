"""What attacks say about others' work, what they sign, and when they keep silent."""

from __future__ import annotations

import numpy as np
import pytest
from support.knowledge import NOTHING, ROOT, known

from tallystick.federation.conduct import WINDOWS, Moment
from tallystick.lab.attacks import make_attack
from tallystick.mechanisms.records import Key, Output, Subject

SUBJECTS = [Subject(id=bytes([index]) * 32, author=name) for index, name in enumerate("aef")]
KINDS = ("submit", "screen", "score", "aggregate")


def dice(seed=0):
    return np.random.default_rng(seed)


def moment(kind, window, number=1, secret=b"me"):
    return Moment(kind, Key(bytes(32), 1, number, kind, ""), window, secret)


def missed(name):
    """Return the kinds and windows in which an attack never acts."""
    attack = make_attack(name)
    return {
        (kind, window)
        for kind in KINDS
        for window in WINDOWS
        if not attack.present(moment(kind, window))
    }


def every(*windows, kinds=KINDS):
    return {(kind, window) for kind in kinds for window in windows}


@pytest.mark.parametrize(
    ("name", "windows"),
    [
        ("absentee", every(*WINDOWS)),
        ("withholder", every("reveal")),
        ("score-withholder", {("score", "reveal")}),
        ("silent-scorer", every(*WINDOWS, kinds=["score"])),
        ("dropout-seal", {("submit", "seal"), ("submit", "record")}),
        ("dropout-reveal", {("submit", "reveal")}),
        ("dropout-hold", every("hold")),
        ("dropout-attest", every("attest")),
        ("dropout-score", every("seal", "reveal", "record", kinds=["score"])),
        ("sign-flip", set()),
        ("lying-scorer", set()),
    ],
)
def test_who_is_missing_when(name, windows):
    assert missed(name) == windows


def test_a_drop_out_misses_a_share_of_its_windows_and_always_the_same():
    attack = make_attack("dropout-seal:0.25")

    def acts(secret):
        rounds = [moment("submit", "seal", number, secret) for number in range(400)]
        return [attack.present(one) for one in rounds]

    assert 60 < acts(b"me").count(False) < 140
    assert acts(b"me") == acts(b"me")
    assert acts(b"me") != acts(b"you")


def test_a_moment_does_not_show_its_secret():
    assert "hush" not in repr(moment("submit", "seal", secret=b"hush"))


def test_a_liar_praises_its_allies_and_keeps_the_vectors_form():
    liar, knowledge = make_attack("lying-scorer"), known()

    assert liar.poison_scores([1, 2, 3, None], SUBJECTS, dice(), knowledge) == [
        9000,
        0,
        10_000,
        None,
    ]
    assert liar.poison_scores([1, 2, 3], SUBJECTS, dice(), knowledge) == [0, 10_000, 10_000]


def test_a_random_scorer_draws_within_the_range_and_keeps_holes():
    scorer = make_attack("random-scorer")
    many = [Subject(bytes(32), "a")] * 500
    scores = scorer.poison_scores([0] * 501, many, dice(), NOTHING)

    assert 0 <= min(scores) < 500
    assert 9500 < max(scores) <= 10_000
    assert scores == scorer.poison_scores([0] * 501, many, dice(), NOTHING)
    assert scores != scorer.poison_scores([0] * 501, many, dice(1), NOTHING)
    assert scorer.poison_scores([1, None, None, 2], SUBJECTS, dice(), NOTHING)[1:3] == [None] * 2


def test_a_hold_denier_holds_its_allies_work_only():
    denier = make_attack("hold-denier")

    assert denier.poison_holds([1, 1, 0], SUBJECTS, known()) == [0, 1, 0]


def test_a_wrong_aggregate_names_the_parent_and_other_outputs_stay_right():
    attack = make_attack("wrong-aggregate")
    made = Output((Subject(b"\x01" * 32, "", columns=(640, 5)),))
    wrong = attack.poison_output(made, "aggregate", known())

    assert [(found.id, found.columns) for found in wrong.subjects] == [(ROOT, (640, 5))]
    assert wrong.root != made.root
    assert attack.poison_output(made, "screen", known()) is made
    assert attack.poison_output(made, "aggregate", known(parent=(b"", 0))) is made


def test_a_junk_signature_has_the_length_of_one_and_is_always_the_same():
    attack = make_attack("junk-signature")
    junk = attack.poison_signature(b"\x01" * 64)

    assert len(junk) == 64
    assert junk != b"\x01" * 64
    assert junk == attack.poison_signature(b"\x01" * 64)
