"""The user's side of a round: train on own data, evaluate on own data.

Any object with the two methods of `Trainer` is one; objects shaped like Flower's ``NumPyClient``
are accepted without Flower. Whatever a trainer does wrong becomes a `TrainerError` here, so that
the member loses a turn and nothing else.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np

from tallystick.errors import ConfigError
from tallystick.federation.arrays import Arrays, TrainerError, as_arrays, check_arrays
from tallystick.federation.child import Child, Children, Facts, Work, run_child
from tallystick.federation.deadline import within
from tallystick.mechanisms.theory.protection import ClippedSum
from tallystick.tensors.paging import drop_pages

__all__ = [
    "NumPyClientTrainer",
    "TrainResult",
    "Trainer",
    "TrainerError",
    "Training",
    "as_arrays",
    "as_trainer",
    "commit_once",
    "evaluate_once",
    "read_only",
    "score_bps",
    "score_update",
    "train_once",
]

FULL_SCORE_BPS = 10_000
MOST_SCORE = 2.0  # beyond which nothing rounds to 1


@runtime_checkable
class Trainer(Protocol):
    """A site's own training and judgement; its data never leave it.

    Where a task protects rows, a trainer needs a third method, see `train_once`.
    """

    def train(
        self, parameters: Arrays, config: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any], int] | tuple[Mapping[str, Any], int, Mapping[str, Any]]:
        """Train from ``parameters`` and return new ones, the number of examples, and metrics.

        The dictionary and its arrays are the trainer's to change. The result has the same names,
        shapes and dtypes. ``config`` is read-only: the task's ``[train]`` table plus ``round``,
        ``seed`` and ``member``. Metrics, the third item, are optional.
        """
        ...

    def evaluate(
        self, parameters: Arrays, config: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any], int]:
        """Return metrics of ``parameters`` on own data, and the number of examples."""
        ...


@dataclass(frozen=True, slots=True)
class TrainResult:
    """Checked parameters (C-ordered, native byte order), examples used, finite metrics."""

    parameters: Arrays
    num_examples: int
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NumPyClientTrainer:
    """An object with Flower's ``fit`` and ``evaluate`` over lists of arrays, as a `Trainer`.

    Parameters
    ----------
    client
        Has ``fit(list, config) -> (list, n, metrics)`` and
        ``evaluate(list, config) -> (loss, n, metrics)``.
    names
        The parameters' names in the list's order; needed unless the model's are ``p000`` and so on.
    """

    client: Any
    names: tuple[str, ...] | None = None

    def train(
        self, parameters: Arrays, config: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any], int, Mapping[str, Any]]:
        """See `Trainer.train`."""
        names = self._order(parameters)
        fitted = self.client.fit([parameters[name] for name in names], dict(config))
        values, num_examples, metrics = _unpack(fitted, "fit", "(list of arrays, int, dict)", (3,))
        if not isinstance(values, list):
            msg = f"fit returned a {type(values).__name__} of parameters, not a list"
            raise TrainerError(msg)
        arrays = cast("list[object]", values)
        if len(arrays) != len(names):
            msg = f"fit returned {len(arrays)} arrays, the model has {len(names)}"
            raise TrainerError(msg)
        return dict(zip(names, arrays, strict=True)), num_examples, metrics

    def evaluate(
        self, parameters: Arrays, config: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any], int]:
        """See `Trainer.evaluate`; the loss is among the metrics as ``loss``."""
        arrays = [parameters[name] for name in self._order(parameters)]
        judged = self.client.evaluate(arrays, dict(config))
        loss, num_examples, metrics = _unpack(judged, "evaluate", "(loss, int, dict)", (3,))
        return {"loss": loss, **metrics}, num_examples

    def initial_parameters(self) -> Arrays:
        """Return what the client's ``get_parameters`` gives, under this trainer's names."""
        arrays = as_arrays(self.client.get_parameters({}))
        names = self.names or tuple(arrays)
        if len(names) != len(arrays):
            msg = f"get_parameters returned {len(arrays)} arrays for {len(names)} names"
            raise ConfigError(msg)
        return dict(zip(names, arrays.values(), strict=True))

    def _order(self, parameters: Arrays) -> tuple[str, ...]:
        if self.names is not None:
            return self.names
        names = tuple(sorted(parameters))
        if any(name[:1] != "p" or not name[1:].isdigit() for name in names):
            msg = "the model's parameters have names, and the client's lists have none"
            raise TrainerError(msg, hint="say as_trainer(client, names=[…]) in the lists' order")
        return names


def as_trainer(trainer: object, names: Sequence[str] | None = None) -> Trainer:
    """Return ``trainer`` as a `Trainer`: itself, or a ``NumPyClient``-shaped object adapted.

    ``names`` gives such a client's parameters their names, in the order of its lists.

    Raises
    ------
    ConfigError
        It has the methods of neither, or is a class where an instance is needed.
    """
    if isinstance(trainer, type):
        msg = f"{trainer.__name__} is a class: give an instance of it"
        raise ConfigError(msg)
    has = {
        name
        for name in ("train", "evaluate", "fit", "get_parameters")
        if callable(getattr(trainer, name, None))
    }
    # A client may call one of its own helpers `train`; a Trainer has no use for both of the others.
    if has >= {"fit", "evaluate"} and ("get_parameters" in has or "train" not in has):
        return NumPyClientTrainer(trainer, None if names is None else tuple(names))
    if has >= {"train", "evaluate"}:
        return cast("Trainer", trainer)
    msg = f"{type(trainer).__name__} is no trainer: it lacks train() or evaluate()"
    raise ConfigError(msg, hint="give it both, or fit() and evaluate() as Flower's NumPyClient")


def read_only(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a copy of ``config`` that cannot be changed, nested tables and lists included."""
    return MappingProxyType({key: _frozen(value) for key, value in config.items()})


def train_once(
    trainer: Trainer,
    parameters: Mapping[str, np.ndarray],
    config: Mapping[str, Any],
    *,
    limit_seconds: float | None = None,
    isolate: bool = False,
    rows: ClippedSum | None = None,
) -> TrainResult:
    """Return what ``trainer`` makes of ``parameters``, checked.

    Parameters
    ----------
    limit_seconds
        How long the trainer may take; inline it is then left behind on a thread of its own.
    isolate
        Train in a child process (`tallystick.federation.child`). What the trainer then stores on
        itself is lost with the child.
    rows
        Do not train, but clip and add up what every row asks for, in a sum like this one; the
        result's parameters are the totals, and its examples the rows. For that a trainer has a
        method ``contributions(parameters, config)`` that yields batches: for each tensor of the
        model an array with one axis more in front, the rows. What it says of a row may depend on
        the parameters and that row, on no other.

    Raises
    ------
    TrainerError
        It raised (``traceback`` has the text), ran too long, died, or returned something that is
        not ``(parameters, num_examples[, metrics])`` of the model's names, shapes and dtypes with
        finite values; or it has no ``contributions``, or they are of other names or shapes.
    """
    work, arguments = _work(trainer, parameters, config, rows)
    if not isolate:
        return _result(within(limit_seconds, lambda: work(*arguments)))
    return _result(run_child(work, arguments, limit_seconds=limit_seconds))


class Training:
    """Training in a child process that nobody waits for.

    Parameters
    ----------
    children
        Those of this process, who take turns.
    rows
        As in `train_once`.
    """

    def __init__(
        self,
        children: Children,
        trainer: Trainer,
        parameters: Mapping[str, np.ndarray],
        config: Mapping[str, Any],
        *,
        limit_seconds: float | None,
        rows: ClippedSum | None = None,
    ) -> None:
        """Start as soon as there is room: at once or when `result` is asked for."""
        self._children = children
        self._work, self._arguments = _work(trainer, parameters, config, rows)
        self._limit_seconds = limit_seconds
        self._child: Child | None = None

    def result(self) -> TrainResult | None:
        """Return what came of it, or `None` while it is under way; raises as `train_once`."""
        if self._child is None:
            limit = self._limit_seconds
            self._child = self._children.start(self._work, self._arguments, limit_seconds=limit)
        if self._child is None or not self._child.is_ready:
            return None
        child, self._child = self._child, None
        return _result(self._children.collect(child))

    def close(self) -> None:
        """End it, whatever it is doing."""
        if self._child is not None:
            self._children.end(self._child)
            self._child = None


def evaluate_once(
    trainer: Trainer,
    parameters: Mapping[str, np.ndarray],
    config: Mapping[str, Any],
    *,
    limit_seconds: float | None = None,
) -> tuple[dict[str, float], int]:
    """Return the metrics of ``parameters`` on the trainer's data, and how many examples it used.

    Raises
    ------
    TrainerError
        The trainer raised, took too long, or returned something that is not
        ``(metrics, num_examples)``.
    """
    metrics, num_examples = _judge(trainer, parameters, config, limit_seconds)
    return _metrics(metrics), _num_examples(num_examples)


def score_update(
    trainer: Trainer,
    parameters: Mapping[str, np.ndarray],
    config: Mapping[str, Any],
    score: str,
    *,
    limit_seconds: float | None = None,
) -> int:
    """Return the metric named ``score`` of somebody's update, in basis points.

    An update may be made to ruin whatever it is tried on: below 0 and not finite are 0 here.

    Raises
    ------
    TrainerError
        As `evaluate_once` and `score_bps`.
    """
    metrics, num_examples = _judge(trainer, parameters, config, limit_seconds)
    _num_examples(num_examples)
    finite = _metrics(metrics)  # refuses what is no mapping
    if score in metrics and score not in finite and _is_number(metrics[score]):
        return 0
    return 0 if finite.get(score, 0) < 0 else score_bps(finite, score)


def commit_once(commitment: Callable[[str], object], stage: str) -> bytes:
    """Return the bytes a trainer's ``commitment`` method gives for a stage.

    Raises
    ------
    TrainerError
        It raised, or returned something else.
    """
    try:
        data = commitment(stage)
    except TrainerError:
        raise
    except (Exception, SystemExit) as error:  # a trainer may do anything
        raise _failure(error, of=commitment) from error
    if not isinstance(data, bytes):
        msg = "commitment() returned no bytes"
        raise TrainerError(msg)
    return data


def score_bps(metrics: Mapping[str, float], score: str) -> int:
    """Return the metric named ``score``, of 0 to 1, in basis points (to the nearest, ties to even).

    Raises
    ------
    TrainerError
        There is no such metric, or it lies outside 0 to 1 by more than rounding.
    """
    if score not in metrics:
        known = ", ".join(sorted(metrics)) or "none"
        msg = f"evaluate returned no metric '{score}' that is a finite number"
        raise TrainerError(msg, hint=f"it returned: {known}")
    value = metrics[score]
    if abs(value) <= MOST_SCORE and 0 <= round(value * FULL_SCORE_BPS) <= FULL_SCORE_BPS:
        return round(value * FULL_SCORE_BPS)
    msg = f"metric '{score}' is {value}: a score lies between 0 and 1, larger is better"
    raise TrainerError(msg)


def _work(
    trainer: Trainer,
    parameters: Mapping[str, np.ndarray],
    config: Mapping[str, Any],
    rows: ClippedSum | None,
) -> tuple[Work, tuple[Any, ...]]:
    arguments = (trainer, dict(parameters), dict(config))
    if rows is None:
        return _train, arguments
    if not callable(getattr(trainer, "contributions", None)):
        msg = "the trainer has no contributions(), and epsilon is to protect a row"
        raise TrainerError(msg, hint='give it one, or say unit = "update" in the stage')
    return _contribute, (*arguments, rows)


def _train(
    trainer: Trainer, parameters: Mapping[str, np.ndarray], config: Mapping[str, Any]
) -> tuple[Arrays, Facts]:
    # Copies: a blob's memory map cannot be written to, and in a simulation members share arrays.
    copies: Arrays = {}
    for name, array in parameters.items():
        copies[name] = np.array(array)
        drop_pages(array)
    try:
        returned = trainer.train(copies, read_only(config))
    except TrainerError:
        raise
    except (Exception, SystemExit) as error:  # a trainer may do anything
        raise _failure(error, of=trainer.train) from error
    wanted = "(parameters, num_examples[, metrics])"
    trained, num_examples, *rest = _unpack(returned, "train", wanted, (2, 3))
    try:
        arrays = as_arrays(trained)
    except ConfigError as error:
        raise TrainerError(str(error), hint=error.hint) from error
    check_arrays(arrays, parameters)
    arrays = {name: arrays[name] for name in sorted(arrays)}
    return arrays, {
        "num_examples": _num_examples(num_examples),
        "metrics": _metrics(rest[0] if rest else {}),
    }


def _contribute(
    trainer: Any,  # noqa: ANN401 - a trainer with a further method
    parameters: Mapping[str, np.ndarray],
    config: Mapping[str, Any],
    empty: ClippedSum,
) -> tuple[Arrays, Facts]:
    total = empty.fresh()
    copies = {name: np.array(array) for name, array in parameters.items()}
    try:
        for batch in trainer.contributions(copies, read_only(config)):
            total.add(cast("Mapping[str, np.ndarray]", batch))
    except (Exception, SystemExit) as error:  # a trainer may do anything
        raise _failure(error, of=trainer.contributions) from error
    return total.totals, {"num_examples": total.count, "metrics": {}}


def _judge(
    trainer: Trainer,
    parameters: Mapping[str, np.ndarray],
    config: Mapping[str, Any],
    limit_seconds: float | None,
) -> tuple[Any, Any]:
    """Return what ``evaluate`` says of ``parameters``, unchecked."""
    copies = {name: np.array(array) for name, array in parameters.items()}
    try:
        judged = within(limit_seconds, lambda: trainer.evaluate(copies, read_only(config)))
    except TrainerError:
        raise
    except (Exception, SystemExit) as error:  # a trainer may do anything
        raise _failure(error, of=trainer.evaluate) from error
    return _unpack(judged, "evaluate", "(dict of metrics, int)", (2,))


def _result(returned: tuple[Arrays, Facts]) -> TrainResult:
    arrays, facts = returned
    return TrainResult(arrays, facts["num_examples"], facts["metrics"])


def _failure(error: BaseException, of: Callable[..., object]) -> TrainerError:
    text = "".join(traceback.format_exception(error))
    return TrainerError(f"{of.__name__}() raised {type(error).__name__}: {error}", traceback=text)


def _unpack(returned: object, method: str, wanted: str, lengths: tuple[int, ...]) -> Any:  # noqa: ANN401
    items = cast("Sequence[object]", returned) if isinstance(returned, tuple | list) else ()
    if len(items) in lengths:
        return items
    msg = f"{method}() returned something that is not {wanted}"
    raise TrainerError(msg)


def _num_examples(value: object) -> int:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    number = int(cast("int", value)) if whole else -1
    if number < 0:
        msg = f"num_examples is {value!r}: a whole number of rows, at least 0"
        raise TrainerError(msg)
    return number


def _metrics(values: object) -> dict[str, float]:
    """Return the finite numbers among ``values``; notes a trainer adds for itself stay with it."""
    if not isinstance(values, Mapping):
        msg = f"metrics are of type {type(values).__name__}, not a dict"
        raise TrainerError(msg)
    numbers: dict[str, float] = {}
    for name, value in cast("Mapping[object, object]", values).items():
        if _is_number(value):
            number = float(cast("float", value))
            if math.isfinite(number):
                numbers[str(name)] = number
    return numbers


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, np.complexfloating)


def _frozen(value: Any) -> Any:  # noqa: ANN401 - whatever TOML can hold
    if isinstance(value, Mapping):
        return read_only(cast("Mapping[str, Any]", value))
    if isinstance(value, list):
        return tuple(_frozen(item) for item in cast("list[Any]", value))
    return value
