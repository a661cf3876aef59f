"""What screens share: whom they judge, how long updates are, and how a subject is refused."""

from __future__ import annotations

import msgspec

from tallystick.mechanisms.aggregation import bench_of, shape_of
from tallystick.mechanisms.records import Subject
from tallystick.mechanisms.rule import Inputs
from tallystick.tensors.arithmetic import norm_of
from tallystick.tensors.workbench import SHAPE

__all__ = ["lengths_in", "refuse", "shaped_in"]


def refuse(subject: Subject, verdict: int, evidence: bytes) -> Subject:
    """Return ``subject`` with the verdict and the root of the list it rests on."""
    return msgspec.structs.replace(subject, verdict=verdict, evidence=evidence)


def shaped_in(inputs: Inputs) -> list[int]:
    """Return the places in the first list of live subjects whose updates have the model's shape."""
    return [
        at
        for at, subject in enumerate(inputs.of[0].subjects)
        if subject.live and shape_of(subject, inputs) != SHAPE
    ]


def lengths_in(inputs: Inputs) -> dict[int, int]:
    """Return the length of each update of `shaped_in`, as `norm_of` rounds it, by its place."""
    places = shaped_in(inputs)
    bench, model = bench_of(inputs)
    squares = bench.norms([inputs.of[0].subjects[at].id for at in places], model)
    return dict(zip(places, map(norm_of, squares), strict=True))
