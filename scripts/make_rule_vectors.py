"""Rewrite the golden vectors of every rule: records and inputs in, output out, to the bit.

A rule is found by its registration; nothing here lists one. A diff after this script means that an
output changed: then the rule needs a new number, or the commit has to say why not.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tallystick.codec import encode
from tallystick.crypto.hashes import sha256
from tallystick.mechanisms.records import (
    ACCEPTED,
    ROUND,
    Artefact,
    Attestation,
    Complaint,
    Key,
    Opinion,
    Output,
    Subject,
)
from tallystick.mechanisms.registry import all_rules, make_rule
from tallystick.mechanisms.rule import Held, Inputs, Place, Seat
from tallystick.tensors.memory import MemoryBlobs
from tallystick.tensors.model import model_bytes
from tallystick.tensors.spec import ModelSpec, Parameter
from tallystick.tensors.workbench import Workbench

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tallystick.mechanisms.rule import Rule

VECTORS = Path(__file__).resolve().parent.parent / "tests" / "vectors"
MEMBERS = ("alpha", "bravo", "charlie", "delta", "echo")
PARAMETERS = (Parameter("b", (3,), "F32", -8), Parameter("w", (2, 2), "F32", -8))
WRONG_SHAPE = 303
SPREAD = 2001
Json = dict[str, object]


@dataclass(frozen=True)
class Scene:
    """What a rule folds in a vector: records and inputs over a few small tensors."""

    records: tuple[Held, ...]
    inputs: Inputs
    blobs: MemoryBlobs = field(compare=False)


def number(member: int, at: int) -> int:
    """Return one value of a member's update: a fixed pattern, the last member's far too long."""
    value = (at * 379 + member * 101 + 1) % SPREAD - SPREAD // 2
    return -400 * value if member == len(MEMBERS) - 1 else value + 700


def model_of(blobs: MemoryBlobs) -> ModelSpec:
    """Store the parent model and return what the terms would say of it."""
    arrays = {
        "b": np.array([1.0, -2.0, 0.5], np.float32),
        "w": np.array([[0.25, 0.5], [1.5, -3.0]], np.float32),
    }
    root, size = blobs.put(model_bytes(arrays))
    return ModelSpec(root, size, PARAMETERS)


def centred(blobs: MemoryBlobs, model: ModelSpec) -> Output:
    """Return the parent model as the stage that made it listed it: after an earlier one."""
    before = {
        "b": np.array([1.125, -2.0, 0.25], np.float32),
        "w": np.array([[0.25, 0.75], [1.5, -2.5]], np.float32),
    }
    earlier, _ = blobs.put(model_bytes(before))
    return Output((Subject(model.root, "", columns=(model.size,), parent=earlier),))


def update_of(blobs: MemoryBlobs, member: int) -> tuple[bytes, int]:
    """Store a member's update; return its root and size."""
    values = [number(member, at) for at in range(7)]
    arrays = {
        "b": np.array(values[:3], np.int32),
        "w": np.array(values[3:], np.int32).reshape(2, 2),
    }
    return blobs.put(model_bytes(arrays))


def listed_of(blobs: MemoryBlobs, parent: bytes, present: tuple[str, ...]) -> Output:
    """Return the updates of those present as a submit stage lists them, one refused before."""
    subjects: list[Subject] = []
    for name in present:
        at = MEMBERS.index(name)
        root, size = update_of(blobs, at)
        verdict = WRONG_SHAPE if name == "charlie" else ACCEPTED
        subjects.append(Subject(root, name, "", verdict, (size, at + 1), parent))
    return Output(tuple(sorted(subjects, key=lambda found: (found.id, found.author))))


def record_of(rule: Rule, inputs: Inputs, member: int, update: tuple[bytes, int]) -> Held | None:
    """Return the record that a member might give to ``rule``."""
    name, record = MEMBERS[member], None
    if rule.record is Artefact:
        joining = rule.id.startswith("join/")
        root, size = (inputs.key.task, 0) if joining else update
        record = Artefact(root, size, (inputs.parent[0],), member + 1)
    elif rule.record is Opinion:
        record = Opinion(inputs.of[0].root, vector_of(rule, inputs, member))
    elif rule.record is Complaint:
        record = Complaint(MEMBERS[0].encode(), b"evidence") if member == 1 else Complaint()
    elif rule.record is Attestation and rule.place is Place.LOCAL:
        record = Attestation(bytes([member]) * 64)
    return None if record is None else Held(name, "", record)


def vector_of(rule: Rule, inputs: Inputs, member: int) -> tuple[int | None, ...]:
    """Return the first vector that the rule takes: base and scores, scores, or one vote."""
    count = len(inputs.of[0].subjects)
    scores = tuple((at * 1237 + member * 911) % 10_001 for at in range(count))
    vote = tuple(1 if at == member % max(1, count) else None for at in range(count))
    check = getattr(rule, "check_vector", None)
    for vector in ((6000 + member, *scores), scores, vote):
        if check is None or check(vector, inputs):
            return vector
    return scores


def scene(rule: Rule, present: tuple[str, ...] = MEMBERS, *, escrow: int = 10_001) -> Scene:
    """Return a scene in which only those ``present`` sent anything."""
    blobs = MemoryBlobs()
    model = model_of(blobs)
    listed = listed_of(blobs, model.root, present)
    attested = rule.place is Place.ATTESTED
    inputs = Inputs(
        key=Key(sha256("vector-task"), ROUND, 2, "stage", ""),
        beacon=sha256("vector-beacon"),
        roster=tuple(Seat(name) for name in MEMBERS),
        of=(before(rule, listed, blobs, present),),
        refs={name: centred(blobs, model) if name == "centre" else listed for name in rule.refs},
        parent=(model.root, model.size),
        model=model,
        escrow=escrow,
        withheld=frozenset({"bravo"}),
        workbench=Workbench(blobs, threads=1) if attested else None,
    )
    found = [
        record_of(rule, inputs, MEMBERS.index(name), update_of(blobs, MEMBERS.index(name)))
        for name in present
    ]
    return Scene(tuple(held for held in found if held is not None), inputs, blobs)


def before(rule: Rule, listed: Output, blobs: MemoryBlobs, present: tuple[str, ...]) -> Output:
    """Return the output a rule looks at: scores for a decision, updates for everything else."""
    if not rule.id.startswith("decide/"):
        return listed
    score = make_rule("score/own-data/1", {})
    inputs = Inputs(Key(sha256("vector-task"), ROUND, 2, "score", ""), of=(listed,))
    found = [
        record_of(score, inputs, MEMBERS.index(name), update_of(blobs, MEMBERS.index(name)))
        for name in present
    ]
    return score.fold(tuple(held for held in found if held is not None), inputs)


def scenes() -> Iterator[tuple[str, Rule, Scene]]:
    """Yield every built-in rule's examples, with all present and with some missing."""
    for kind in all_rules():
        if not kind.__module__.startswith("tallystick."):
            continue
        for rule in kind.examples():
            yield "all present", rule, scene(rule)
            yield "two missing", rule, scene(rule, ("alpha", "charlie", "echo"))


def describe(why: str, rule: Rule, found: Scene) -> Json:
    """Return one vector as JSON: everything in canonical bytes but what a person looks for."""
    inputs = found.inputs
    output = rule.fold(found.records, inputs)
    return {
        "why": f"{rule.id}: {why}",
        "rule": rule.id,
        "parameters": dataclasses.asdict(rule),  # pyright: ignore[reportArgumentType]
        "records": [[held.author, held.group, encode(held.record).hex()] for held in found.records],
        "inputs": {
            "key": encode(inputs.key).hex(),
            "beacon": inputs.beacon.hex(),
            "roster": [[seat.member, seat.group] for seat in inputs.roster],
            "of": [output.root.hex() for output in inputs.of],
            "refs": {name: output.root.hex() for name, output in inputs.refs.items()},
            "parent": [inputs.parent[0].hex(), inputs.parent[1]],
            "counts": list(inputs.counts),
            "escrow": inputs.escrow,
            "withheld": sorted(inputs.withheld),
        },
        "output": encode(output).hex(),
        "output_root": output.root.hex(),
    }


def shared_blobs() -> Json:
    """Return the tensors that the vectors speak of, by root."""
    blobs = MemoryBlobs()
    model = model_of(blobs)
    earlier = centred(blobs, model).subjects[0].parent
    roots = [model.root, earlier, *(update_of(blobs, at)[0] for at in range(len(MEMBERS)))]
    return {root.hex(): blobs.open(root).tobytes().hex() for root in roots}


def build() -> Json:
    """Return the whole file; lists are named by their roots, like blobs."""
    found = list(scenes())
    lists = {
        output.root.hex(): encode(output).hex()
        for _, _, each in found
        for output in (*each.inputs.of, *each.inputs.refs.values())
    }
    return {
        "why": "every rule's output on fixed records and inputs; hex is the canonical encoding",
        "blobs": shared_blobs(),
        "model": encode(model_of(MemoryBlobs())).hex(),
        "lists": dict(sorted(lists.items())),
        "cases": [describe(*each) for each in found],
    }


def main() -> None:
    """Write the file."""
    path = VECTORS / "rules.json"
    path.write_text(json.dumps(build(), indent=1) + "\n", encoding="utf-8")
    print(path.name)


if __name__ == "__main__":
    main()
