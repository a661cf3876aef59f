"""Every rule keeps its contract: found by its registration, none is listed here.

The rules for tests stand in the same battery, so it is known to run over rules outside the package.
"""

import dataclasses
import itertools
import json
import random
from pathlib import Path

import make_rule_vectors as maker
import pytest
from support import rules as _rules  # noqa: F401 - registers the rules for tests

from tallystick.codec import decode, encode
from tallystick.crypto.merkle_list import list_root
from tallystick.errors import ConfigError
from tallystick.ledger.collect.view import inputs_root
from tallystick.mechanisms import reasons
from tallystick.mechanisms.records import (
    Artefact,
    Attestation,
    Complaint,
    Fault,
    Key,
    Opinion,
    Output,
    Pay,
)
from tallystick.mechanisms.registry import KINDS, all_rules, make_rule, register, rule_digest
from tallystick.mechanisms.rule import Held, Inputs, Place, Seat
from tallystick.tensors.memory import MemoryBlobs
from tallystick.tensors.spec import ModelSpec
from tallystick.tensors.workbench import Workbench

OURS = [kind for kind in all_rules() if kind.__module__.startswith("tallystick.")]
TESTS = [kind for kind in all_rules() if kind.__module__ == "support.rules"]
EXAMPLES = [rule for kind in (*OURS, *TESTS) for rule in kind.examples()]
BUILT_IN = [rule for kind in OURS for rule in kind.examples()]
SUBSETS = [
    tuple(name for name, here in zip(maker.MEMBERS, bits, strict=True) if here)
    for bits in itertools.product((True, False), repeat=len(maker.MEMBERS))
]
VECTORS = Path(__file__).parents[1] / "vectors" / "rules.json"


def by_rule(rules):
    return pytest.mark.parametrize("rule", rules, ids=repr)


def fold(rule, scene, records=None):
    return rule.fold(scene.records if records is None else records, scene.inputs)


def frozen(scene):
    """Return everything a fold was given, as bytes."""
    inputs = scene.inputs
    plain = (
        encode(inputs.key),
        inputs.beacon,
        [(seat.member, seat.group) for seat in inputs.roster],
        [encode(output) for output in inputs.of],
        {name: encode(output) for name, output in inputs.refs.items()},
        inputs.parent,
        inputs.escrow,
        sorted(inputs.withheld),
        dict(inputs.known),
    )
    return repr(plain), [(held.author, held.group, encode(held.record)) for held in scene.records]


# --- what a rule is -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.id)
def test_a_rules_id_is_its_folder_and_its_file(kind):
    folder, name, number = kind.id.split("/")

    assert folder in KINDS
    assert int(number) >= 1
    stem = name.removesuffix("-as-published").replace("-", "_")
    assert kind.__module__.startswith(f"tallystick.mechanisms.{folder}.{stem}")


@pytest.mark.parametrize("kind", [*OURS, *TESTS], ids=lambda kind: kind.id)
def test_a_rules_place_fits_its_record(kind):
    if kind.place is Place.LEDGER:
        assert kind.record is None
    elif kind.place is Place.ATTESTED:
        assert kind.record is Attestation
    else:
        assert kind.record in {Artefact, Opinion, Complaint, Attestation}
    if kind.place is Place.LOCAL and kind.record is not Attestation and kind in OURS:
        assert callable(kind.act)


@pytest.mark.parametrize("kind", [*OURS, *TESTS], ids=lambda kind: kind.id)
def test_a_rule_is_frozen_and_has_examples(kind):
    examples = list(kind.examples())

    assert examples
    assert kind.__dataclass_params__.frozen
    assert all(isinstance(example, kind) for example in examples)
    assert len(set(map(repr, examples))) == len(examples)


@by_rule(EXAMPLES)
def test_a_rule_is_its_id_and_its_parameters(rule):
    parameters = dataclasses.asdict(rule)

    assert make_rule(rule.id, parameters) == rule
    assert hash(make_rule(rule.id, parameters)) == hash(rule)


@by_rule(EXAMPLES)
def test_a_parameter_of_another_type_is_refused(rule):
    for field in dataclasses.fields(rule):
        wrong = 5 if isinstance(getattr(rule, field.name), str | tuple) else "text"
        with pytest.raises(ConfigError):
            make_rule(rule.id, {**dataclasses.asdict(rule), field.name: wrong})
    with pytest.raises(ConfigError):
        make_rule(rule.id, {"no-such-parameter": 1})


@pytest.mark.parametrize("kind", [*OURS, *TESTS], ids=lambda kind: kind.id)
def test_only_a_third_partys_rule_is_pinned(kind):
    assert len(rule_digest(kind.id)) == (0 if kind in OURS else 32)


def test_an_id_is_taken_once():
    other = type("Other", (), {"id": OURS[0].id})

    with pytest.raises(ConfigError, match="registered twice"):
        register(other)


# --- what a fold promises -------------------------------------------------------------------------


@by_rule(EXAMPLES)
def test_a_fold_is_blind_to_the_order_of_records(rule):
    scene = maker.scene(rule)
    first = encode(fold(rule, scene))
    shuffled = random.Random(7)
    for _ in range(12):
        records = list(scene.records)
        shuffled.shuffle(records)
        assert encode(fold(rule, scene, tuple(records))) == first


@by_rule(EXAMPLES)
def test_a_fold_leaves_its_inputs_untouched(rule):
    scene = maker.scene(rule)
    before = frozen(scene)
    fold(rule, scene)

    assert frozen(scene) == before


@by_rule(EXAMPLES)
@pytest.mark.parametrize("present", SUBSETS, ids=lambda names: "+".join(n[0] for n in names) or "-")
def test_a_fold_is_total_on_every_subset_of_the_roster(rule, present):
    scene = maker.scene(rule, present)
    output = fold(rule, scene)

    assert decode(Output, encode(output)) == output
    assert output.root == list_root(
        [
            encode((output.void, len(output.subjects), len(output.effects))),
            *map(encode, output.subjects),
            *map(encode, output.effects),
        ]
    )


@by_rule(EXAMPLES)
def test_a_fold_of_records_about_nothing_is_total(rule):
    scene = maker.scene(rule)
    nothing = dataclasses.replace(
        scene.inputs, of=(Output(),), refs=dict.fromkeys(rule.refs, Output())
    )

    output = rule.fold((), nothing)

    assert decode(Output, encode(output)) == output


@by_rule(EXAMPLES)
def test_a_replayed_fold_is_equal_to_the_bit(rule):
    outputs = {encode(fold(rule, maker.scene(rule))) for _ in range(2)}
    scene = maker.scene(rule)
    outputs |= {encode(fold(rule, scene)) for _ in range(2)}

    assert len(outputs) == 1


@by_rule([rule for rule in BUILT_IN if rule.place is Place.ATTESTED])
@pytest.mark.parametrize("threads", [1, 3])
def test_an_attested_fold_does_not_depend_on_threads(rule, threads):
    scene = maker.scene(rule)
    inputs = dataclasses.replace(scene.inputs, workbench=Workbench(scene.blobs, threads))

    assert rule.fold((), inputs) == fold(rule, scene)


@by_rule([rule for rule in EXAMPLES if rule.place is Place.ATTESTED])
def test_an_attested_output_has_no_effects(rule):
    assert fold(rule, maker.scene(rule)).effects == ()


@by_rule([rule for rule in EXAMPLES if rule.place is Place.ATTESTED])
def test_what_an_attester_signs_covers_every_input(rule):
    inputs = maker.scene(rule).inputs
    roots = {
        inputs_root(inputs),
        inputs_root(dataclasses.replace(inputs, beacon=bytes(32))),
        inputs_root(dataclasses.replace(inputs, of=(Output(void="x"),))),
        inputs_root(dataclasses.replace(inputs, parent=(bytes(32), 1))),
        inputs_root(dataclasses.replace(inputs, refs={**inputs.refs, "other": Output()})),
    }

    assert len(roots) == 5


@by_rule([rule for rule in EXAMPLES if rule.id.split("/")[0] in {"screen", "score", "decide"}])
@pytest.mark.parametrize("present", SUBSETS[:8])
def test_judging_never_revives_and_never_forgets_anybody(rule, present):
    scene = maker.scene(rule, present)
    output = fold(rule, scene)
    before = {(s.id, s.author): s for s in scene.inputs.subjects if s.verdict != reasons.BASE}
    after = {(s.id, s.author): s for s in output.subjects if s.verdict != reasons.BASE}

    assert set(after) == set(before)
    assert all(before[key].live for key, subject in after.items() if subject.live)
    refused = [after[key] for key in after if before[key].live and not after[key].live]
    assert all(subject.verdict for subject in refused)


@by_rule(
    [rule for rule in EXAMPLES if rule.id.startswith("settle/") and rule.id in {k.id for k in OURS}]
)
@pytest.mark.parametrize("escrow", [0, 1, 3, 10_001, 2**61])
def test_a_settlement_never_pays_more_than_the_escrow_holds(rule, escrow):
    for present in SUBSETS:
        output = fold(rule, maker.scene(rule, present, escrow=escrow))
        paid = [effect for effect in output.effects if isinstance(effect, Pay)]

        assert sum(effect.micros for effect in paid) <= escrow
        assert all(effect.micros > 0 for effect in paid)
        assert len({effect.member for effect in paid}) == len(paid)


@by_rule(
    [rule for rule in EXAMPLES if rule.id.startswith("select/") and rule.id in {k.id for k in OURS}]
)
def test_a_selection_is_of_the_roster_and_spares_withholders_of_a_draw(rule):
    scene = maker.scene(rule)
    output = fold(rule, scene)
    chosen = [(subject.author, subject.group) for subject in output.subjects]
    beacons = [dataclasses.replace(scene.inputs, beacon=bytes([at]) * 32) for at in range(64)]
    drawn = {
        tuple(subject.author for subject in rule.fold((), inputs).subjects) for inputs in beacons
    }

    assert chosen == sorted(set(chosen))
    assert set(chosen) <= {(seat.member, seat.group) for seat in scene.inputs.roster}
    if len(drawn) > 1:
        assert not any("bravo" in names for names in drawn)


@by_rule(EXAMPLES)
def test_effects_name_members_of_the_scene(rule):
    for effect in fold(rule, maker.scene(rule)).effects:
        assert isinstance(effect, Pay | Fault)
        assert effect.member in maker.MEMBERS


# --- golden vectors -------------------------------------------------------------------------------


DATA = json.loads(VECTORS.read_text(encoding="utf-8")) if VECTORS.exists() else {"cases": []}
RECORDS = Artefact | Opinion | Attestation | Complaint


def replayed(case):
    """Return the output of a vector, from nothing but the file."""
    blobs = MemoryBlobs()
    for root, data in DATA["blobs"].items():
        assert blobs.put(bytes.fromhex(data))[0].hex() == root
    given = case["inputs"]

    def output(root):
        return decode(Output, bytes.fromhex(DATA["lists"][root]))

    parameters = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in case["parameters"].items()
    }
    rule = make_rule(case["rule"], parameters)
    inputs = Inputs(
        key=decode(Key, bytes.fromhex(given["key"])),
        beacon=bytes.fromhex(given["beacon"]),
        roster=tuple(Seat(member, group) for member, group in given["roster"]),
        of=tuple(output(root) for root in given["of"]),
        refs={name: output(root) for name, root in given["refs"].items()},
        parent=(bytes.fromhex(given["parent"][0]), given["parent"][1]),
        model=decode(ModelSpec, bytes.fromhex(DATA["model"])),
        counts=tuple(given["counts"]),
        escrow=given["escrow"],
        withheld=frozenset(given["withheld"]),
        workbench=Workbench(blobs),
    )
    records = tuple(
        Held(author, group, decode(RECORDS, bytes.fromhex(record)))
        for author, group, record in case["records"]
    )
    return rule.fold(records, inputs)


@pytest.mark.parametrize("case", DATA["cases"], ids=lambda case: case["why"])
def test_a_golden_vector_is_reproduced_to_the_bit(case):
    output = replayed(case)

    assert encode(output).hex() == case["output"]
    assert output.root.hex() == case["output_root"]


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.id)
def test_every_rule_has_a_golden_vector(kind):
    assert kind.id in {case["rule"] for case in DATA["cases"]}, "run `make vectors`"


def test_the_vectors_are_those_the_script_writes():
    built = json.loads(json.dumps(maker.build()))

    assert built == DATA, "run `make vectors`, and say why the outputs changed"


def test_the_vectors_show_more_than_empty_outputs():
    outputs = {
        case["rule"]: decode(Output, bytes.fromhex(case["output"])) for case in DATA["cases"]
    }

    assert all(output.subjects or output.void for output in outputs.values())
