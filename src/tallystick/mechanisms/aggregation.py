"""What every aggregation rule shares: whose updates count, how much, and the model they make.

A rule is a weigher and a combiner. ``weigh(geometry, counts)`` sees exact norms and products and
gives integer weights; ``combine(rows, weights)`` makes one row of many, chunk by chunk. So any
weigher goes with any combiner, and memory does not grow with the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import ClassVar, Protocol, TypeAlias

from tallystick.errors import InvariantError, RejectedError
from tallystick.mechanisms.records import Output, Subject
from tallystick.mechanisms.rule import Inputs
from tallystick.tensors.arithmetic import HEADROOM, Rows
from tallystick.tensors.dtypes import Array, NonFiniteError
from tallystick.tensors.geometry import mixed_products
from tallystick.tensors.spec import ModelSpec
from tallystick.tensors.workbench import DEFAULT_LIMIT, SHAPE, Workbench

__all__ = [
    "Aggregation",
    "Geometry",
    "Mixing",
    "NotEnoughUpdatesError",
    "Row",
    "Rows",
    "Weights",
    "bench_of",
    "beside_of",
    "counts_of",
    "fold_model",
    "median_of",
    "shape_of",
]

Row: TypeAlias = Array
RANK = attrgetter("rank")


class NotEnoughUpdatesError(RejectedError):
    """Fewer updates than the rule needs for what it promises; the round is void.

    Attributes
    ----------
    needed, got
        How many updates there had to be, and were.
    """

    slug: ClassVar[str] = "not-enough-updates"
    code: ClassVar[int] = 330

    def __init__(self, needed: int, got: int) -> None:
        """Keep the facts beside the sentence."""
        super().__init__(f"{got} updates where the rule needs {needed}")
        self.needed = needed
        self.got = got


@dataclass(frozen=True, slots=True)
class Mixing:
    """Mixtures of rows that a combiner sees instead of them.

    Attributes
    ----------
    matrix
        A mixture a line: how much of each row goes into it, from 0.
    divisor
        What every line sums up to.
    """

    matrix: tuple[tuple[int, ...], ...]
    divisor: int


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each row counts.

    Attributes
    ----------
    factors
        What each row is multiplied by, from 0.
    divisor
        What a sum of rows times factors is divided by; 0 when nothing counts.
    bound
        A limit of the result: the sum of ``factor · |row|`` nowhere exceeds ``divisor · bound``.
    mixing
        Where the rows are mixtures of updates: the factors are theirs.
    """

    factors: tuple[int, ...]
    divisor: int
    bound: int
    mixing: Mixing | None = None


@dataclass(frozen=True, slots=True)
class Geometry:
    """Exact lengths and products of updates, computed when asked for and remembered.

    Attributes
    ----------
    inputs
        The stage's.
    updates
        The updates to weigh, in the order of the weights.
    over
        Roots of the updates that a common length is taken over.
    beside
        Rows behind a rule's own reference, which follow the updates.
    mixing
        The rows are these mixtures of updates; products are then in squares of a divisor's part.
    """

    inputs: Inputs
    updates: tuple[Subject, ...]
    over: tuple[bytes, ...]
    beside: tuple[Subject, ...] = ()
    mixing: Mixing | None = None

    @property
    def roots(self) -> tuple[bytes, ...]:
        """Every row's root: the updates', then those of what is beside them."""
        return tuple(each.id for each in (*self.updates, *self.beside))

    @property
    def largest(self) -> tuple[int, ...]:
        """The largest absolute value in each row, or in any where rows are mixtures."""
        bench, model = bench_of(self.inputs)
        found = tuple(bench.largest([root], model) for root in self.roots)
        return found if self.mixing is None else (max(found),) * len(self.mixing.matrix)

    @property
    def bound(self) -> int:
        """The largest absolute value in any row."""
        return max(self.largest)

    @property
    def squared_norms(self) -> tuple[int, ...]:
        """Squared length of each row."""
        if self.mixing is not None:
            return tuple(line[at] for at, line in enumerate(self.gram))
        bench, model = bench_of(self.inputs)
        return bench.norms(self.roots, model)

    @property
    def squared_norms_over(self) -> tuple[int, ...]:
        """Squared length of each update that a common length is taken over."""
        bench, model = bench_of(self.inputs)
        return bench.norms(self.over, model) if self.mixing is None else self.squared_norms

    @property
    def gram(self) -> tuple[tuple[int, ...], ...]:
        """Products of all pairs of rows."""
        bench, model = bench_of(self.inputs)
        products = bench.gram(self.roots, model)
        return products if self.mixing is None else mixed_products(products, self.mixing.matrix)


class Aggregation(Protocol):
    """A weigher and a combiner."""

    def weigh(self, geometry: Geometry, counts: tuple[int, ...]) -> Weights:
        """Return the weight of each row; blind to order but for following it and breaking ties.

        Raises
        ------
        NotEnoughUpdatesError
            There are fewer updates than the rule needs.
        """
        ...

    def combine(self, rows: Rows, weights: Weights) -> Row:
        """Return one int64 row of shape (d,) from n int32 rows; columns are independent."""
        ...


def fold_model(rule: Aggregation, inputs: Inputs, beside: tuple[Subject, ...] = ()) -> Output:
    """Return the model that ``rule`` makes of the live subjects, as the output's one subject.

    The output is void, with nothing computed, when a live update has the wrong shape
    (``wrong-shape``: the stage before should have refused it), when there are fewer than the rule
    needs (``not-enough-updates``), when no update has a weight (``no-weight``) or weighted sums
    could leave 64 bits (``headroom``); and when a parameter would not be finite (``non-finite``).
    Without live subjects it is empty.

    Parameters
    ----------
    beside
        Further rows for the rule, whose shape has been checked.
    """
    subjects = tuple(sorted(inputs.of[0].live, key=RANK))
    if not subjects:
        return Output()
    over = beside_of(inputs, "clip_over") if "clip_over" in inputs.refs else subjects
    geometry = Geometry(inputs, subjects, tuple(each.id for each in over), beside)
    weights = _weigh(rule, geometry)
    if isinstance(weights, str):
        return Output(void=weights)
    bench, model = bench_of(inputs)
    try:
        root, size = bench.combine(inputs.parent, model, geometry.roots, weights, rule.combine)
    except NonFiniteError:
        return Output(void="non-finite")
    group = inputs.key.group
    made = Subject(id=root, author="", group=group, columns=(size,), parent=inputs.parent[0])
    return Output(subjects=(made,))


def beside_of(inputs: Inputs, reference: str) -> tuple[Subject, ...]:
    """Return the live updates of the right shape behind a rule's reference, in order."""
    found = inputs.refs[reference].live if reference in inputs.refs else ()
    return tuple(each for each in sorted(found, key=RANK) if shape_of(each, inputs) != SHAPE)


def counts_of(subjects: Sequence[Subject], inputs: Inputs) -> tuple[int, ...]:
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


def shape_of(subject: Subject, inputs: Inputs, limit: int = DEFAULT_LIMIT) -> str:
    """Return what is wrong with a subject's update: see `Workbench.check_update`."""
    bench, model = bench_of(inputs)
    size = subject.columns[0] if subject.columns else 0
    return bench.check_update(subject.id, size, model, limit)


def _weigh(rule: Aggregation, geometry: Geometry) -> Weights | str:
    """Return the weights, or why the round is void."""
    if any(shape_of(each, geometry.inputs) == SHAPE for each in geometry.updates):
        return "wrong-shape"
    counts = counts_of(geometry.updates, geometry.inputs)
    if not any(counts):
        return "no-weight"
    try:
        weights = rule.weigh(geometry, counts)
    except NotEnoughUpdatesError as error:
        return error.slug
    if not weights.divisor:
        return "no-weight"
    headroom = weights.bound * weights.divisor + 2 * weights.divisor < HEADROOM
    return weights if headroom else "headroom"


def _weight(subject: Subject) -> int:
    return subject.columns[1] if len(subject.columns) > 1 else 0
