"""Recipes compiled from terms: steps in order, references, and the static check.

A bare name means this list, then ``setup``, then (in ``close``) the last completed round;
``x@-k`` is the k-th last completed round.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

from tallystick.codec import decode, encode
from tallystick.errors import ConfigError
from tallystick.ledger.collect.installed import check_installed
from tallystick.ledger.collect.rows import MechanismError
from tallystick.ledger.terms import APPROVE, COSIGN, Need, Stage, Terms, phase_stages
from tallystick.mechanisms.records import (
    CLOSE,
    MAX_SUBJECTS,
    ROUND,
    SETUP,
    Artefact,
    Attestation,
    Complaint,
)
from tallystick.mechanisms.registry import make_rule
from tallystick.mechanisms.rule import Place
from tallystick.tensors.layout import check_parameters

if TYPE_CHECKING:
    from collections.abc import Generator

    from tallystick.mechanisms.rule import Rule
    from tallystick.mechanisms.theory.rdp import Charge

__all__ = [
    "MOST_ROUNDS",
    "BadTermsError",
    "Plan",
    "Step",
    "check_terms",
    "parse_reference",
    "parse_who",
    "plan_of",
]

REFERENCE = re.compile(r"^([a-z0-9][a-z0-9._-]*)(?:@-([1-9][0-9]{0,3}))?\Z")
WHO_TERM = re.compile(r"^(@parties|[a-z0-9][a-z0-9._-]*)(:other)?\Z")
MOST_WEIGHT = 2**14  # members x weight cap: int32 values on scales of 2^16 stay below 2^62
MOST_ROUNDS = 100_000
DEEPEST = 64  # completed rounds a reference may reach back: so many outputs stay in the state
RESERVED = ("owner", "members")
LONGEST = 10 * 365 * 24 * 3600 * 1000  # ten years, in milliseconds
LONGEST_APPROVAL = 90 * 24 * 3600 * 1000  # until then a task nobody approves takes up a place
MOST_SEATS = 512  # subjects that an attested output can list within one transaction


class BadTermsError(MechanismError):
    """The terms contradict themselves or name something that does not exist."""

    slug: ClassVar[str] = "bad-terms"
    code: ClassVar[int] = 520


@dataclass(frozen=True, slots=True)
class Step:
    """A stage with its rule, at its place in a phase's list."""

    stage: Stage
    rule: Rule
    phase: int
    position: int

    @property
    def kind(self) -> str:
        """The folder of its rule: ``submit``, ``score``, ``aggregate`` and so on."""
        return self.rule.id.partition("/")[0]

    @property
    def built_in(self) -> bool:
        """Whether it is one of the two stages that every task has."""
        return (self.phase, self.stage.name) in {(SETUP, APPROVE), (CLOSE, COSIGN)}

    @property
    def attested(self) -> bool:
        """Whether its output is opened under the members' signatures."""
        return self.rule.place is Place.ATTESTED

    @property
    def on_ledger(self) -> bool:
        """Whether it folds at once, asking nobody."""
        return self.rule.place is Place.LEDGER

    @property
    def cosign(self) -> bool:
        """Whether members sign a statement known beforehand."""
        return self.rule.place is Place.LOCAL and self.rule.record is Attestation

    @property
    def held(self) -> bool:
        """Whether it collects artefacts, whose bytes holders must confirm."""
        return self.rule.record is Artefact

    @property
    def need(self) -> Need:
        """How many are enough; a challenge never falls short."""
        if self.rule.record is Complaint and self.stage.need == Need():
            return Need(0)
        return self.stage.need

    @property
    def escrow(self) -> int:
        """What the rule moves from a record's author into the task's escrow."""
        return int(getattr(self.rule, "escrow", 0))

    @property
    def charge(self) -> Charge | None:
        """What a record costs its author's data set in privacy."""
        return getattr(self.rule, "charge", None)

    @property
    def enrols(self) -> bool:
        """Whether a record names the data set that its author is charged for."""
        return bool(getattr(self.rule, "enrols", False))

    @property
    def needs_model(self) -> bool:
        """Whether the rule works on updates of a common model."""
        return bool(getattr(self.rule, "needs_model", False))

    @property
    def lists(self) -> int:
        """How many outputs the rule can be about."""
        return int(getattr(self.rule, "lists", 1))

    @property
    def yields_model(self) -> bool:
        """Whether the output's first live subject is a model."""
        return bool(getattr(self.rule, "yields_model", False))

    @property
    def writes(self) -> tuple[str, ...]:
        """The rosters the stage writes."""
        if self.kind not in {"select", "join"} or self.built_in:
            return ()
        return self.stage.into or (self.stage.name,)


@dataclass(frozen=True, slots=True)
class Plan:
    """A task's steps by phase, how far references reach back, and which stage makes the model."""

    phases: tuple[tuple[Step, ...], tuple[Step, ...], tuple[Step, ...]]
    depth: int
    model_stage: str

    def find(self, phase: int, name: str) -> Step | None:
        """Return a phase's step by stage name."""
        for step in self.phases[phase]:
            if step.stage.name == name:
                return step
        return None


def parse_reference(text: str) -> tuple[str, int]:
    """Return the stage a reference names and how many completed rounds back (0: this one).

    Raises
    ------
    BadTermsError
        Neither ``name`` nor ``name@-k``.
    """
    match = REFERENCE.match(text)
    if match is None:
        msg = f"'{text}' is not a reference: NAME or NAME@-K"
        raise BadTermsError(msg)
    back = int(match[2] or 0)
    if back > DEEPEST:
        msg = f"'{text}' reaches back {back} rounds; {DEEPEST} are possible"
        raise BadTermsError(msg)
    return match[1], back


@lru_cache(maxsize=1024)
def parse_who(text: str) -> tuple[tuple[bool, str, bool], ...]:
    """Return the terms of a roster expression: (added, name, other groups).

    Raises
    ------
    BadTermsError
        Not ``NAME[:other] [(+|-) NAME]…``.
    """
    words = text.split()
    found: list[tuple[bool, str, bool]] = []
    added = True
    for index, word in enumerate(words):
        if index % 2:
            if word not in {"+", "-"}:
                break
            added = word == "+"
            continue
        match = WHO_TERM.match(word)
        if match is None:
            break
        found.append((added, match[1], bool(match[2])))
    if not words or len(found) * 2 - 1 != len(words):
        msg = f"'{text}' is not a roster: NAME, NAME:other, or names joined by + and -"
        raise BadTermsError(msg)
    return tuple(found)


def plan_of(terms: Terms) -> Plan:
    """Compile ``terms``; the same bytes are compiled once per process.

    Raises
    ------
    BadTermsError
        A rule is unknown or refuses its parameters.
    """
    return _compiled(encode(terms))


@lru_cache(maxsize=256)
def _compiled(wire: bytes) -> Plan:
    """Compile encoded terms: by value ``True`` equals 1, but is not what was agreed."""
    terms = decode(Terms, wire)
    phases = tuple(
        tuple(_step(stage, phase, position) for position, stage in enumerate(stages))
        for phase, stages in (
            (phase, phase_stages(terms, phase)) for phase in (SETUP, ROUND, CLOSE)
        )
    )
    depth, parents = 1, [""]
    for stage in (*terms.setup, *terms.round, *terms.close):
        with _naming(stage):
            for reference in _references(stage):
                depth = max(depth, parse_reference(reference)[1])
            if stage.parent:
                parents.append(parse_reference(stage.parent)[0])
    makers = [step.stage.name for step in phases[ROUND] if step.yields_model]
    model_stage = makers[-1] if makers else parents[-1]
    return Plan((phases[SETUP], phases[ROUND], phases[CLOSE]), depth, model_stage)


def _step(stage: Stage, phase: int, position: int) -> Step:
    with _naming(stage):
        rule = make_rule(stage.rule, dict(stage.parameters))
    return Step(stage, rule, phase, position)


@contextmanager
def _naming(stage: Stage) -> Generator[None]:
    """Say which stage a problem belongs to."""
    try:
        yield
    except (ConfigError, BadTermsError) as error:
        msg = f"stage '{stage.name}': {error}"
        raise BadTermsError(msg, hint=error.hint) from error


def _references(stage: Stage) -> tuple[str, ...]:
    parent = (stage.parent,) if stage.parent else ()
    return (*stage.of, *(reference for _, reference in stage.refs), *parent)


def check_terms(terms: Terms, *, trial: bool, faults: int) -> Plan:
    """Check everything about ``terms`` that can be known before the task starts.

    Raises
    ------
    UninstalledRuleError
        A rule is not here, so whether they are in order cannot be said.
    BadTermsError
        Says which stage breaks which rule.
    """
    check_installed(terms)
    _check_rosters(terms)
    _check_model(terms)
    plan = plan_of(terms)
    if not any(not step.on_ledger and not step.stage.of for step in plan.phases[ROUND]):
        msg = "a round needs a stage that asks somebody for something new"
        raise BadTermsError(msg)
    stages = (*terms.setup, *terms.round, *terms.close)
    if terms.keep == "best" and not any(s.rule.startswith("score/report/") for s in stages):
        msg = "keep = 'best' needs a stage that reports scores, and there is none"
        raise BadTermsError(msg)
    rosters = {name: Size(len(terms.roster(name))) for name in _named(terms)}
    rosters["@parties"] = Size(len(terms.parties))
    for phase in (SETUP, ROUND, CLOSE):
        names: set[str] = set()
        for step in plan.phases[phase]:
            where = f"stage '{step.stage.name}'"
            if step.stage.name in names:
                msg = f"{where} appears twice in one list"
                raise BadTermsError(msg)
            _check_rule(step, where)
            _check_references(terms, plan, step, where)
            _check_who(step, where, rosters)
            if not trial:
                _check_windows(terms, step, where, faults)
            names.add(step.stage.name)
            for written in step.writes:
                rosters[written] = _size(step, rosters)
    return plan


def _named(terms: Terms) -> tuple[str, ...]:
    return ("owner", *(roster.name for roster in terms.rosters))


def _check_rosters(terms: Terms) -> None:  # noqa: C901 - a list of independent refusals
    names = [roster.name for roster in terms.rosters]
    problem = ""
    if terms.version != 1:
        problem = f"terms of version {terms.version}; this program knows version 1"
    elif names != sorted(set(names)) or "members" not in names:
        problem = "rosters are sorted, named once, and 'members' is one of them"
    elif any(list(r.members) != sorted(set(r.members)) for r in terms.rosters):
        problem = "a roster's members are sorted and named once"
    elif not terms.roster("members"):
        problem = "the roster 'members' is empty"
    elif not 1 <= terms.rounds <= MOST_ROUNDS:
        problem = f"{terms.rounds} rounds; 1 to {MOST_ROUNDS:,} are possible"
    elif not terms.approve_within or not terms.gap:
        problem = "approve_within and gap are at least a millisecond"
    elif max(terms.gap, terms.retention) > LONGEST or terms.approve_within > LONGEST_APPROVAL:
        problem = "approve_within is 90 days, gap and retention are ten years at most"
    elif terms.holders not in _named(terms):
        problem = f"holders '{terms.holders}' is no roster of the terms"
    elif len(terms.parties) > MAX_SUBJECTS:
        problem = f"{len(terms.parties)} parties; an output lists {MAX_SUBJECTS} at most"
    elif len(terms.parties) * max(1, terms.weights[1]) > MOST_WEIGHT:
        problem = f"members times the weight cap exceed {MOST_WEIGHT}: sums could wrap"
    if problem:
        raise BadTermsError(problem)


def _check_model(terms: Terms) -> None:
    if terms.model is None:
        return
    if not terms.model.parameters:
        msg = "the model has no parameters"
        raise BadTermsError(msg)
    try:
        check_parameters(terms.model.parameters)
    except ConfigError as error:
        msg = f"the model: {error}"
        raise BadTermsError(msg) from error


def _check_rule(  # noqa: C901, PLR0912 - a list of independent refusals
    step: Step, where: str
) -> None:
    local = step.rule.place is Place.LOCAL
    stage = step.stage
    problem = ""
    if stage.sealed and (not local or step.rule.record is Attestation):
        problem = "only a stage of artefacts, opinions or complaints can be sealed"
    elif not step.on_ledger and not stage.who:
        problem = "needs 'who'"
    elif not step.on_ledger and not stage.within:
        problem = "needs 'within'"
    elif stage.sealed and not stage.reveal:
        problem = "is sealed and needs 'reveal'"
    elif step.held and not (stage.hold or step.built_in):
        problem = "collects artefacts and needs 'hold'"
    elif (stage.bond or stage.forfeit or step.escrow) and not local:
        problem = "takes a bond or escrow from nobody: its rule is not local"
    elif {stage.name, *stage.into} & set(RESERVED):
        problem = f"writes a reserved name: {' and '.join(RESERVED)} are the terms' own"
    elif stage.name in {APPROVE, COSIGN} and not step.built_in:
        problem = "has the name of a stage that every task has"
    elif len(stage.of) > step.lists:
        problem = f"is about {len(stage.of)} outputs; its rule reads {step.lists}"
    elif stage.per_group and not stage.who:
        problem = "runs per group and needs 'who'"
    elif step.charge is not None and "data" not in dict(stage.refs):
        problem = "costs privacy and needs 'data': the stage in which members name their data sets"
    elif {name for name, _ in stage.refs} - set(step.rule.refs):
        problem = f"the rule takes no reference '{stage.refs[0][0]}'"
    elif stage.short.then == "abort" and step.phase != SETUP:
        problem = "'abort' is for setup; a round is voided"
    elif max(stage.within, stage.reveal, stage.hold) > LONGEST:
        problem = "has a window of more than ten years"
    if problem:
        msg = f"{where}: {problem}"
        raise BadTermsError(msg)


def _check_references(terms: Terms, plan: Plan, step: Step, where: str) -> None:
    stage = step.stage
    for text in _references(stage):
        name, back = parse_reference(text)
        before = {found.stage.name for found in plan.phases[step.phase][: step.position]}
        setup = {found.stage.name for found in plan.phases[SETUP]}
        rounds = {found.stage.name for found in plan.phases[ROUND]}
        known = rounds if back else before
        if not back and step.phase != SETUP:
            known = known | setup
        if not back and step.phase == CLOSE:
            known = known | rounds
        if name not in known:
            msg = f"{where}: '{text}' names no stage it can see"
            raise BadTermsError(msg)
    problem = ""
    if stage.parent and terms.model is None:
        problem = "has a parent, but the terms name no model"
    elif step.needs_model and terms.model is None:
        problem = "works on updates of a model, but the terms name none"
    elif (
        step.yields_model
        and terms.weights[0] == "committed"
        and plan.find(SETUP, "commitment") is None
    ):
        problem = "weighs by commitments, but setup has no stage 'commitment'"
    if problem:
        msg = f"{where}: {problem}"
        raise BadTermsError(msg)


@dataclass(frozen=True, slots=True)
class Size:
    """How many seats a roster has at most, and the rosters all of them were drawn from."""

    most: int
    source: frozenset[str] = frozenset()


def _check_who(step: Step, where: str, rosters: dict[str, Size]) -> None:
    for text in filter(None, (step.stage.who, step.stage.source)):
        with _naming(step.stage):
            named = parse_who(text)
        for _, name, _ in named:
            if name not in rosters:
                msg = f"{where}: no roster '{name}' is known here"
                raise BadTermsError(msg)
    if step.on_ledger or step.attested:
        return
    size = _expression_size(step.stage.who, rosters)
    if not step.need.reachable(size):
        msg = f"{where}: needs more than its roster of at most {size} can give"
        raise BadTermsError(msg)
    if step.held and not step.built_in and size > MOST_SEATS:
        msg = f"{where}: asks up to {size} members for artefacts; {MOST_SEATS} are possible"
        raise BadTermsError(msg)


def _check_windows(terms: Terms, step: Step, where: str, faults: int) -> None:
    shortest = (faults + 2) * terms.gap
    stage = step.stage
    for name, length in (("within", stage.within), ("reveal", stage.reveal), ("hold", stage.hold)):
        if length and length < shortest:
            msg = f"{where}: {name} of {length} ms is under {faults + 2} gaps of {terms.gap} ms"
            raise BadTermsError(msg)


def _expression_size(text: str, rosters: dict[str, Size]) -> int:
    """Return how many seats an expression has when nobody is missing.

    What is taken away counts only where it was drawn from what is there.
    """
    size, there = 0, set[str]()
    for added, name, _ in parse_who(text):
        roster = rosters[name]
        if added:
            size += roster.most
            there.add(name)
        elif name in there or (roster.source and roster.source <= there):
            size -= roster.most
    return max(0, size)


def _size(step: Step, rosters: dict[str, Size]) -> Size:
    source = step.stage.source or step.stage.who
    terms = parse_who(source)
    whole = _expression_size(source, rosters)
    seats = int(getattr(step.rule, "seats", 0))
    drawn = frozenset(name for added, name, _ in terms if added and step.on_ledger)
    return Size(min(whole, seats) if seats else whole, drawn)
