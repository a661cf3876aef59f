import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tallystick.tensors.geometry import (
    SHARE_BITS,
    mixed_products,
    nearest,
    shares_of,
    squared_distances,
    squared_distances_to,
)

ROWS = st.tuples(st.integers(1, 6), st.integers(1, 5)).flatmap(
    lambda shape: hnp.arrays(np.int64, shape, elements=st.integers(-(2**40), 2**40))
)


def products_of(rows):
    whole = rows.astype(object)
    return (whole @ whole.T).tolist()


@settings(max_examples=100, deadline=None)
@given(rows=ROWS)
def test_distances_are_those_of_the_rows(rows):
    whole = rows.astype(object)
    expected = [[sum((a - b) ** 2) for b in whole] for a in whole]

    assert squared_distances(products_of(rows)) == expected


@settings(max_examples=100, deadline=None)
@given(rows=ROWS, data=st.data())
def test_distances_to_a_combination_are_exact_fractions_of_the_whole(rows, data):
    parts = data.draw(st.lists(st.integers(0, 9), min_size=len(rows), max_size=len(rows)))
    whole = sum(parts) + data.draw(st.integers(1, 5))  # the rest counts for a row of zeros
    point = sum(part * row for part, row in zip(parts, rows.astype(object), strict=True))
    expected = [sum((whole * row - point) ** 2) for row in rows.astype(object)]

    assert squared_distances_to(products_of(rows), parts, whole) == expected


@settings(max_examples=100, deadline=None)
@given(rows=ROWS, data=st.data())
def test_products_of_mixtures_are_those_of_the_mixed_rows(rows, data):
    line = st.lists(st.integers(0, 9), min_size=len(rows), max_size=len(rows))
    matrix = data.draw(st.lists(line, min_size=1, max_size=4))
    mixed = np.array(matrix, object) @ rows.astype(object)

    found = mixed_products(products_of(rows), matrix)
    assert [list(each) for each in found] == (mixed @ mixed.T).tolist()


def test_the_nearest_come_in_order_and_ties_by_place():
    assert nearest([5, 1, 5, 0, 1], 4) == [3, 1, 4, 0]
    assert nearest([2, 2], 0) == []


@pytest.mark.parametrize("parts", [[1, 1, 1], [0, 7, 0], [1, 2**90, 5]])
def test_shares_round_down_and_never_exceed_the_whole(parts):
    shares = shares_of(parts, sum(parts))

    assert 2**SHARE_BITS - len(parts) < sum(shares) <= 2**SHARE_BITS
    assert shares == tuple(part * 2**SHARE_BITS // sum(parts) for part in parts)
