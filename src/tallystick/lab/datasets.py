"""Tables to try things on: scikit-learn's bundled ones by name, or a CSV file.

Everything here is deterministic: the same name or file and the same seed give the same rows.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tallystick.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["BUNDLED", "Table", "load_table", "split"]

COMMAS = "cells are separated by commas, and a number's decimals by a point"
BUNDLED = ("breast_cancer", "digits", "diabetes", "wine")
LARGEST = 1e100  # squares of larger numbers leave the range of float64
MAX_NUMERIC_CLASSES = 20  # a numeric target with more distinct values is a quantity
LEAST_ROWS = 4  # on average, of each class
MIN_ROWS = 8
EXTRA = "demo"  # what installs scikit-learn


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Rows of numbers with a target.

    Attributes
    ----------
    x
        Features, float64 of shape (rows, columns).
    y
        Class indices (int64) when ``classes`` says what they mean, else quantities (float64).
    classes
        The labels in index order; `None` for regression.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    classes: tuple[str, ...] | None

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.y)

    def rows(self, index: np.ndarray) -> Table:
        """Return the rows at ``index``."""
        return replace(self, x=self.x[index], y=self.y[index])


def load_table(name_or_path: str | Path, target: str | None = None) -> Table:
    """Return a bundled table by name, or a CSV file's with ``target`` as the column to predict.

    A CSV file has a header line and numeric columns. Its target makes it a classification when it
    is text, or numbers of which at most `MAX_NUMERIC_CLASSES` whole ones are distinct; otherwise a
    regression.

    Raises
    ------
    ConfigError
        No such table or file, or contents that do not fit: the message names file, line, column.
    MissingExtraError
        A bundled table without scikit-learn.
    """
    if str(name_or_path) in BUNDLED:
        if target is not None:
            msg = f"the bundled table '{name_or_path}' has its own target, not '{target}'"
            raise ConfigError(msg, hint="leave --target out, or name a CSV file")
        return _load_bundled(str(name_or_path))
    path = Path(name_or_path)
    if not path.is_file():
        msg = f"no data set and no file is named '{name_or_path}'"
        raise ConfigError(msg, hint=f"bundled: {', '.join(BUNDLED)}; or a CSV file")
    return _load_csv(path, target)


def split(table: Table, seed: int, test_share: float = 0.25) -> tuple[Table, Table]:
    """Return a training and a test part, standardised by the training part's statistics.

    Classes keep their shares (a class of one row trains). Features get mean 0 and variance 1,
    constant ones 0; so does a regression's target.

    Raises
    ------
    ConfigError
        ``test_share`` is not between 0 and 1.
    """
    if not 0 < test_share < 1:
        msg = f"test_share is {test_share}: a share lies between 0 and 1"
        raise ConfigError(msg)
    generator = np.random.default_rng([seed, 1])
    groups = np.zeros(len(table), np.int64) if table.classes is None else table.y
    chosen = np.zeros(len(table), bool)
    for group in np.unique(groups):
        index = generator.permutation(np.flatnonzero(groups == group))
        chosen[index[: round(test_share * len(index))]] = True
    train, test = table.rows(np.flatnonzero(~chosen)), table.rows(np.flatnonzero(chosen))
    center, scale = _center_and_scale(train.x)
    train = replace(train, x=(train.x - center) / scale)
    test = replace(test, x=(test.x - center) / scale)
    if table.classes is None:
        middle, spread = _center_and_scale(train.y)
        train = replace(train, y=(train.y - middle) / spread)
        test = replace(test, y=(test.y - middle) / spread)
    return train, test


def _center_and_scale(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    center, spread = values.mean(axis=0), values.std(axis=0)
    # A constant column's computed deviation may be a rounding error instead of zero.
    constant = spread <= np.abs(center) * 1e-12
    return center, np.where(constant, 1.0, spread)


def _load_bundled(name: str) -> Table:
    try:
        from sklearn import datasets
    except ImportError as error:
        raise MissingExtraError(EXTRA, f"the bundled table '{name}'") from error
    bunch: Any = getattr(datasets, f"load_{name}")()
    x = np.ascontiguousarray(bunch.data, np.float64)
    if name == "diabetes":
        return Table(name, x, np.asarray(bunch.target, np.float64), None)
    labels = tuple(str(label) for label in bunch.target_names)
    return Table(name, x, np.asarray(bunch.target, np.int64), labels)


def _load_csv(path: Path, target: str | None) -> Table:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = list(_lines_of(path, csv.reader(file, strict=True)))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        msg = f"{path}: not a readable CSV file: {error}"
        raise ConfigError(msg) from error
    if not lines:
        msg = f"{path}: the file is empty; a header line is needed"
        raise ConfigError(msg)
    header, body = lines[0][1], lines[1:]
    at = _target_index(path, header, target)
    if len(body) < MIN_ROWS:
        msg = f"{path}: {len(body)} rows; at least {MIN_ROWS} are needed"
        raise ConfigError(msg)
    features = [index for index in range(len(header)) if index != at]
    x = np.array([[_number(path, header, line, i) for i in features] for line in body])
    labels = [cells[at] for _, cells in body]
    for (number, _), label in zip(body, labels, strict=True):
        if not label:
            msg = f"{path}, line {number}, column '{header[at]}': the target is empty"
            raise ConfigError(msg)
    y, classes = _target_values(path, header[at], body, labels)
    return Table(path.stem, x, y, classes)


def _lines_of(path: Path, reader: Any) -> Iterator[tuple[int, list[str]]]:  # noqa: ANN401 - csv's own
    """Yield (line number, cells) of the lines that hold something; all have the header's width."""
    width = 0
    for raw in reader:
        cells = [cell.strip() for cell in raw]
        if not any(cells):
            continue
        width = width or len(cells)
        if len(cells) != width:
            msg = f"{path}, line {reader.line_num}: {len(cells)} cells, the header has {width}"
            raise ConfigError(msg, hint=COMMAS)
        yield reader.line_num, cells


def _target_index(path: Path, header: list[str], target: str | None) -> int:
    doubled = sorted({name for name in header if header.count(name) > 1})
    if doubled:
        msg = f"{path}, line 1: two columns are named '{doubled[0]}'"
        raise ConfigError(msg)
    hint = f"columns: {', '.join(header)}"
    if target is None:
        msg = f"{path}: say which column to predict"
        raise ConfigError(msg, hint=f"--target COLUMN; {hint}")
    if target not in header:
        msg = f"{path}: no column is named '{target}'"
        raise ConfigError(msg, hint=COMMAS if len(header) == 1 else hint)
    if len(header) == 1:
        msg = f"{path}: '{target}' is the only column; there is nothing to predict it from"
        raise ConfigError(msg)
    return header.index(target)


def _number(path: Path, header: list[str], line: tuple[int, list[str]], index: int) -> float:
    number, cells = line
    value = _as_number(cells[index])
    if value is None:
        where = f"{path}, line {number}, column '{header[index]}'"
        msg = f"{where}: '{cells[index]}' is not a number up to {LARGEST:g}"
        raise ConfigError(msg, hint="every column but the target holds numbers, with a point")
    return value


def _as_number(text: str) -> float | None:
    """Return the number that ``text`` writes, or `None` if there is none up to `LARGEST`."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) <= LARGEST else None


def _target_values(
    path: Path, column: str, body: list[tuple[int, list[str]]], labels: list[str]
) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """Return the target as class indices with their labels, or as quantities."""
    numbers = [_as_number(label) for label in labels]
    values = [number for number in numbers if number is not None]
    if len(values) == len(labels):
        distinct = sorted(set(values))
        if len(distinct) > MAX_NUMERIC_CLASSES or any(value % 1 for value in distinct):
            return np.array(values), None
        classes = tuple(str(int(value)) for value in distinct)
        labels = [str(int(value)) for value in values]
    else:
        # A number column with a slip in it would otherwise become hundreds of classes.
        if 2 * len(values) > len(labels):
            slip = numbers.index(None)
            where = f"{path}, line {body[slip][0]}, column '{column}'"
            msg = f"{where}: '{labels[slip]}' is not a number"
            raise ConfigError(msg, hint="a target is text or numbers, not both")
        classes = tuple(sorted(set(labels)))
    if len(classes) == 1:
        msg = f"{path}, column '{column}': every row has the target '{classes[0]}'"
        raise ConfigError(msg)
    if len(classes) * LEAST_ROWS > len(labels):
        msg = (
            f"{path}, column '{column}': {len(classes)} different targets in {len(labels)} rows; "
            f"a class needs {LEAST_ROWS} rows and more"
        )
        raise ConfigError(msg, hint="is this a column of names or numbers of cases?")
    index = {label: position for position, label in enumerate(classes)}
    return np.array([index[label] for label in labels], np.int64), classes
