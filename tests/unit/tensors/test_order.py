import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tallystick.errors import InvariantError
from tallystick.tensors.order import (
    around_median_rows,
    median_rows,
    sorted_rows,
    trimmed_mean_rows,
)

ROWS = st.tuples(st.integers(1, 12), st.integers(1, 6)).flatmap(
    lambda shape: hnp.arrays(np.int32, shape, elements=st.integers(-(2**31), 2**31 - 1))
)
CLOSE = st.tuples(st.integers(1, 12), st.integers(1, 6)).flatmap(
    lambda shape: hnp.arrays(np.int32, shape, elements=st.integers(-3, 3))
)


def nearest_mean(values):
    """The mean of integers, to the nearest one, ties up."""
    total, count = sum(values), len(values)
    return (2 * total + count) // (2 * count) if count % 2 == 0 else (total + count // 2) // count


@settings(max_examples=200, deadline=None)
@given(rows=ROWS | CLOSE, data=st.data())
def test_any_run_of_the_sorted_values_is_found(rows, data):
    first = data.draw(st.integers(0, len(rows) - 1))
    last = data.draw(st.integers(first, len(rows) - 1))
    before = rows.copy()

    found = sorted_rows(rows, first, last)
    assert np.stack(found).tolist() == np.sort(rows, axis=0)[first : last + 1].tolist()
    assert (rows == before).all()


@pytest.mark.parametrize("run", [(0, 3), (-1, 0), (2, 1)])
def test_values_that_no_row_has_are_our_bug(run):
    with pytest.raises(InvariantError):
        sorted_rows(np.zeros((3, 2), np.int32), *run)


def test_the_median_of_no_rows_is_our_bug():
    with pytest.raises(InvariantError):
        median_rows([])


@settings(max_examples=200, deadline=None)
@given(rows=ROWS | CLOSE, data=st.data())
def test_the_trimmed_mean_is_the_rounded_mean_of_the_middle(rows, data):
    trim = data.draw(st.integers(0, (len(rows) - 1) // 2))
    ordered = np.sort(rows.astype(object), axis=0)[trim : len(rows) - trim]

    found = trimmed_mean_rows(rows, trim)
    assert found.dtype == np.int64
    assert found.tolist() == [nearest_mean(column) for column in ordered.T.tolist()]


@settings(max_examples=200, deadline=None)
@given(rows=ROWS | CLOSE, data=st.data())
def test_the_mean_around_the_median_drops_the_furthest_values(rows, data):
    drop = data.draw(st.integers(0, len(rows) - 1))

    def kept(column):
        ordered = sorted(column)
        doubled = ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]
        return sorted(ordered, key=lambda value: (abs(2 * value - doubled), value))[
            : len(ordered) - drop
        ]

    found = around_median_rows(rows, drop)
    assert found.dtype == np.int64
    assert found.tolist() == [nearest_mean(kept(column)) for column in rows.astype(object).T]


@pytest.mark.parametrize("count", [1, 2, 3, 10, 20, 33, 64, 100])
def test_every_number_of_rows_has_its_network(count):
    generator = np.random.default_rng(count)
    rows = generator.integers(-(2**31), 2**31, (count, 30)).astype(np.int32)
    ordered = np.sort(rows, axis=0)

    assert np.stack(sorted_rows(rows, 0, count - 1)).tolist() == ordered.tolist()
    for place in {0, count // 3, count - 1}:
        assert sorted_rows(rows, place, place)[0].tolist() == ordered[place].tolist()
