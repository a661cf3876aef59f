"""What judging rules make of columns that stages before them left."""

from tallystick.mechanisms import reasons
from tallystick.mechanisms.decide.below_base import DecideBelowBase
from tallystick.mechanisms.records import Artefact, Key, Opinion, Output, Subject
from tallystick.mechanisms.rule import Held, Inputs
from tallystick.mechanisms.score.own_data import ScoreOwnData
from tallystick.mechanisms.submissions import list_artefacts

KEY = Key(bytes(32), 1, 1, "stage", "")


def test_a_screens_finding_is_no_score():
    listed = Output((Subject(b"u" * 32, "author", columns=(100, 1, 900_000)),))
    said = Held("scorer", "", Opinion(listed.root, (9000, 100)))
    scored = ScoreOwnData().fold((said,), Inputs(KEY, of=(listed,), parent=(b"p" * 32, 9)))
    decided = DecideBelowBase(tolerance_bps=10_000).fold((), Inputs(KEY, of=(scored,)))

    assert decided.subjects[0].verdict == reasons.SCORE_BELOW_THRESHOLD
    assert decided.subjects[0].columns == (100, 1, 900_000, 100)


def test_an_artefact_without_bytes_takes_nobodys_place():
    for number in range(50):
        root, key = bytes([number]) * 32, Key(bytes([number]) * 32, 1, 1, "stage", "")
        sent = (Held("author", "", Artefact(root, 99)), Held("twin", "", Artefact(root, 0)))

        assert all(subject.live for subject in list_artefacts(sent, Inputs(key)))
