"""What screens share: how a subject is refused, and what is wrong with an update."""

from __future__ import annotations

import msgspec

from tallystick.mechanisms.aggregation import bench_of
from tallystick.mechanisms.records import Subject
from tallystick.mechanisms.rule import Inputs
from tallystick.tensors.workbench import DEFAULT_LIMIT

__all__ = ["refuse", "shape_of"]


def refuse(subject: Subject, verdict: int, evidence: bytes) -> Subject:
    """Return ``subject`` with the verdict and the root of the list it rests on."""
    return msgspec.structs.replace(subject, verdict=verdict, evidence=evidence)


def shape_of(subject: Subject, inputs: Inputs, limit: int = DEFAULT_LIMIT) -> str:
    """Return what is wrong with a subject's update: see `Workbench.check_update`."""
    bench, model = bench_of(inputs)
    size = subject.columns[0] if subject.columns else 0
    return bench.check_update(subject.id, size, model, limit)
