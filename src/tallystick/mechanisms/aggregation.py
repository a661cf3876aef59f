"""What every aggregation rule shares: whose updates count, how much, and the model they make.

A rule is a weigher and a combiner. ``weigh(geometry, counts)`` sees exact norms and products and
gives integer weights; ``combine(rows, weights)`` makes one row of many, chunk by chunk. So any
weigher goes with any combiner, and memory does not grow with the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

from tallystick.errors import InvariantError
from tallystick.mechanisms.records import Output, Subject
from tallystick.mechanisms.rule import Inputs
from tallystick.tensors.arithmetic import HEADROOM, Rows, norm_of
from tallystick.tensors.dtypes import Array, NonFiniteError
from tallystick.tensors.spec import ModelSpec
from tallystick.tensors.workbench import SHAPE, Workbench

__all__ = [
    "SCALE_BITS",
    "UNIT",
    "Aggregation",
    "Geometry",
    "Row",
    "Rows",
    "Weights",
    "bench_of",
    "clipped_weights",
    "counts_of",
    "fold_model",
    "median_of",
]

Row: TypeAlias = Array

SCALE_BITS = 16
UNIT = 1 << SCALE_BITS


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each row counts.

    Attributes
    ----------
    scales
        What a row is multiplied by, in units of 2^-16: at most `UNIT`.
    counts
        How often a scaled row counts, from 0.
    bound
        The largest absolute value in any row.
    """

    scales: tuple[int, ...]
    counts: tuple[int, ...]
    bound: int

    @property
    def products(self) -> tuple[int, ...]:
        """Scale times count."""
        return tuple(s * c for s, c in zip(self.scales, self.counts, strict=True))

    @property
    def divisor(self) -> int:
        """What a sum of rows times `products` is divided by: what unscaled rows would weigh."""
        return UNIT * sum(self.counts)


@dataclass(frozen=True, slots=True)
class Geometry:
    """Exact lengths and products of updates, computed when asked for and remembered.

    Attributes
    ----------
    roots
        The updates to weigh, in the order of the weights.
    over
        The updates that a common length is taken over.
    """

    bench: Workbench
    model: ModelSpec
    roots: tuple[bytes, ...]
    over: tuple[bytes, ...]

    @property
    def bound(self) -> int:
        """The largest absolute value in any update to weigh."""
        return self.bench.largest(self.roots, self.model)

    @property
    def squared_norms(self) -> tuple[int, ...]:
        """Squared length of each update to weigh."""
        return self.bench.norms(self.roots, self.model)

    @property
    def squared_norms_over(self) -> tuple[int, ...]:
        """Squared length of each update that a common length is taken over."""
        return self.bench.norms(self.over, self.model)

    @property
    def gram(self) -> tuple[tuple[int, ...], ...]:
        """Products of all pairs of updates to weigh."""
        return self.bench.gram(self.roots, self.model)


class Aggregation(Protocol):
    """A weigher and a combiner."""

    def weigh(self, geometry: Geometry, counts: tuple[int, ...]) -> Weights:
        """Return the weight of each update; blind to order but for following it."""
        ...

    def combine(self, rows: Rows, weights: Weights) -> Row:
        """Return one int64 row of shape (d,) from n int32 rows; columns are independent."""
        ...


def fold_model(rule: Aggregation, inputs: Inputs) -> Output:
    """Return the model that ``rule`` makes of the live subjects, as the output's one subject.

    The output is void, with nothing computed, when a live update has the wrong shape
    (``wrong-shape``: the stage before should have refused it), when no update has a weight
    (``no-weight``) or weighted sums could leave 64 bits (``headroom``); and when a parameter would
    not be finite (``non-finite``). Without live subjects it is empty.
    """
    subjects = sorted(inputs.of[0].live, key=lambda each: (each.id, each.author, each.group))
    if not subjects:
        return Output()
    bench, model = bench_of(inputs)
    if any(bench.check_update(each.id, _size(each), model) == SHAPE for each in subjects):
        return Output(void="wrong-shape")
    roots = tuple(each.id for each in subjects)
    screened = inputs.refs["clip_over"].live if "clip_over" in inputs.refs else subjects
    over = tuple(
        each.id
        for each in sorted(screened, key=lambda each: (each.id, each.author))
        if bench.check_update(each.id, _size(each), model) != SHAPE
    )
    counts = counts_of(subjects, inputs)
    if not any(counts):
        return Output(void="no-weight")
    weights = rule.weigh(Geometry(bench, model, roots, over), counts)
    if weights.bound * weights.divisor + 2 * weights.divisor >= HEADROOM:
        return Output(void="headroom")
    try:
        root, size = bench.combine(inputs.parent, model, roots, weights, rule.combine)
    except NonFiniteError:
        return Output(void="non-finite")
    group = inputs.key.group
    made = Subject(id=root, author="", group=group, columns=(size,), parent=inputs.parent[0])
    return Output(subjects=(made,))


def counts_of(subjects: list[Subject], inputs: Inputs) -> tuple[int, ...]:
    """Return how often each update counts: once, or as declared or committed up to the cap.

    A declared weight is the subject's own second column; a committed one is that of the author's
    subject in the output ``commitment``, and 0 for who committed nothing.
    """
    policy, cap = inputs.counts
    if policy == "equal":
        return (1,) * len(subjects)
    if policy == "declared":
        return tuple(min(_weight(each), cap) for each in subjects)
    if policy != "committed":
        msg = f"unknown weight policy '{policy}'"
        raise InvariantError(msg)
    committed = {each.author: _weight(each) for each in inputs.refs["commitment"].live}
    return tuple(min(committed.get(each.author, 0), cap) for each in subjects)


def clipped_weights(geometry: Geometry, counts: tuple[int, ...]) -> Weights:
    """Return weights that shorten every update to the median length at most.

    The scale is ``floor(2^16 · median / length)``, lengths as `norm_of` rounds them, the median as
    `median_of` does.
    """
    limit = median_of([norm_of(squared) for squared in geometry.squared_norms_over])
    lengths = [norm_of(squared) for squared in geometry.squared_norms]
    scales = tuple(
        UNIT if length <= limit else (limit << SCALE_BITS) // length for length in lengths
    )
    return Weights(scales, counts, geometry.bound)


def median_of(values: list[int]) -> int:
    """Return the median; of an even number the floor of the middle two's average; 0 of none."""
    if not values:
        return 0
    ordered = sorted(values)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) // 2


def bench_of(inputs: Inputs) -> tuple[Workbench, ModelSpec]:
    """Return the workbench and the model that an attested rule on updates needs.

    Raises
    ------
    InvariantError
        The stage was opened without: approval should have refused such terms.
    """
    if inputs.workbench is None or inputs.model is None:
        msg = "a rule on updates was asked to run without a workbench or a common model"
        raise InvariantError(msg)
    return inputs.workbench, inputs.model


def _size(subject: Subject) -> int:
    return subject.columns[0] if subject.columns else 0


def _weight(subject: Subject) -> int:
    return subject.columns[1] if len(subject.columns) > 1 else 0
