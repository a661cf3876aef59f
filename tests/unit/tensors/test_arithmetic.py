import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tallystick.errors import ConfigError, InvariantError
from tallystick.tensors.arithmetic import (
    check_headroom,
    cosine_ppm,
    gram,
    mean_rows,
    mix_rows,
    norm_of,
    scale_rows,
    squared_norms,
)
from tallystick.tensors.order import median_rows

ROWS = st.tuples(st.integers(1, 9), st.integers(1, 12)).flatmap(
    lambda shape: hnp.arrays(np.int32, shape, elements=st.integers(-(2**31), 2**31 - 1))
)
BITS = [1, 8, 20, 21, 22, 23, 26, 31]


def random_rows(bits, count=4, columns=3000):
    generator = np.random.default_rng(bits)
    return generator.integers(-(2**bits), 2**bits, (count, columns)).astype(np.int32)


def exact_gram(rows):
    values = [list(map(int, row)) for row in rows]
    return [[sum(x * y for x, y in zip(a, b, strict=True)) for b in values] for a in values]


@pytest.mark.parametrize("bits", BITS)
def test_products_are_exact_at_every_size_of_values(bits):
    rows = random_rows(bits)

    assert gram(rows) == exact_gram(rows)
    assert squared_norms(rows) == tuple(exact_gram(rows)[at][at] for at in range(len(rows)))


@pytest.mark.parametrize("value", [-(2**31), 2**31 - 1, 2**22 - 1, -(2**22), 2**16 - 1, -1])
def test_products_of_the_most_extreme_rows_are_exact(value):
    rows = np.full((2, 1 << 18), value, np.int32)

    assert gram(rows) == [[value * value << 18] * 2] * 2
    assert squared_norms(rows) == (value * value << 18,) * 2


def test_products_over_too_many_columns_are_refused():
    with pytest.raises(InvariantError):
        gram(np.zeros((1, (1 << 18) + 1), np.int32))


@settings(max_examples=200, deadline=None)
@given(rows=ROWS, data=st.data())
def test_a_weighted_mean_is_the_rounded_exact_one(rows, data):
    weights = data.draw(
        st.lists(st.integers(0, 2**20), min_size=len(rows), max_size=len(rows)).filter(any)
    )
    divisor = data.draw(st.sampled_from([sum(weights), 2 * sum(weights) + 1, 1, 65536]))

    expected = [
        (sum(w * int(v) for w, v in zip(weights, column, strict=True)) + divisor // 2) // divisor
        for column in rows.T
    ]
    found = mean_rows(rows, weights, divisor)
    assert found.dtype == np.int64
    assert found.tolist() == expected


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("weights", [[1] * 4, [65536] * 4, [3, 0, 65536, 1], [2**40, 1, 2**39, 5]])
def test_every_way_of_summing_rounds_alike(bits, weights):
    rows = random_rows(bits, columns=200)
    divisor = sum(weights)
    if bits >= 22 and weights[0] == 2**40:
        with pytest.raises(InvariantError):
            mean_rows(rows, weights, divisor)
        return

    exact = [
        math.floor(
            Fraction(sum(w * int(v) for w, v in zip(weights, column, strict=True)), divisor)
            + Fraction(divisor // 2, divisor)
        )
        for column in rows.T
    ]
    assert mean_rows(rows, weights, divisor).tolist() == exact
    assert mean_rows(rows, weights, divisor, bound=2**bits).tolist() == exact


def test_the_mean_agrees_with_numpy_average_to_half_a_step():
    rows = random_rows(20, count=10, columns=100_000)
    weights = [5, 1, 4, 4, 2, 9, 1, 1, 8, 3]

    exact = np.average(rows, axis=0, weights=weights)
    assert np.abs(mean_rows(rows, weights, sum(weights)) - exact).max() <= 0.5 + 1e-9


@settings(max_examples=200, deadline=None)
@given(rows=ROWS)
def test_the_median_is_the_middle_of_the_sorted(rows):
    ordered = np.sort(rows.astype(np.int64), axis=0)
    middle, count = len(rows) // 2, len(rows)
    expected = ordered[middle] if count % 2 else (ordered[middle - 1] + ordered[middle]) // 2

    assert median_rows(rows).dtype == np.int64
    assert median_rows(rows).tolist() == expected.tolist()


@pytest.mark.parametrize("count", [*range(1, 34), 63, 64, 65, 100])
def test_the_median_holds_for_every_number_of_rows(count):
    rows = random_rows(31, count, 40)

    assert median_rows(rows).tolist() == np.floor(np.median(rows.astype(float), axis=0)).tolist()


@pytest.mark.parametrize("bits", BITS)
def test_the_bound_of_a_mean_chooses_the_way_and_not_the_result(bits):
    rows = random_rows(bits, columns=200)
    weights = [0, 5, 2**20, 0]

    exact = mean_rows(rows, weights, 2**21)
    assert mean_rows(rows, weights, 2**21, bound=2**bits).tolist() == exact.tolist()
    if bits < 31:
        assert mean_rows(rows, weights, 2**21, bound=2**31).tolist() == exact.tolist()


def test_a_row_without_weight_is_not_read():
    rows = random_rows(20, count=3)
    expected = mean_rows(rows[1:2], [1], 1).tolist()

    assert mean_rows([None, rows[1], None], [0, 3, 0], 3, bound=2**20).tolist() == expected
    assert mean_rows([rows[0], rows[1]], [0, 0], 3).tolist() == [0] * rows.shape[1]


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("divisor", [3, 65536, 2**29 + 1])
def test_mixtures_are_the_means_of_their_lines(bits, divisor):
    rows = random_rows(bits, columns=70_000 if bits == 20 else 200)
    matrix = [[1, 1, 1, 0], [0, 0, divisor, 0], [1, 0, 0, divisor - 1]]

    expected = [mean_rows(rows, line, divisor).tolist() for line in matrix]
    found = mix_rows(rows, matrix, divisor)
    assert [row.dtype for row in found] == [np.int32] * 3
    assert [row.tolist() for row in found] == expected
    assert [row.tolist() for row in mix_rows(rows, matrix, divisor, 2**bits)] == expected


@pytest.mark.parametrize("bits", BITS)
def test_products_do_not_depend_on_how_the_rows_are_held(bits):
    rows = random_rows(bits, columns=9000)

    assert gram(tuple(rows)) == gram(rows) == exact_gram(rows)


def test_scaling_rounds_to_the_nearest_and_leaves_whole_rows_alone():
    rows = random_rows(31, count=3)
    scaled = scale_rows(rows, [65536, 12345, 0], 16)

    assert scaled[0] is rows[0] or (scaled[0] == rows[0]).all()
    assert scaled[1].tolist() == [(int(v) * 12345 + 32768) >> 16 for v in rows[1]]
    assert not scaled[2].any()


@settings(max_examples=300, deadline=None)
@given(
    product=st.integers(-(2**80), 2**80), left=st.integers(1, 2**80), right=st.integers(1, 2**80)
)
def test_a_cosine_is_at_most_a_threshold_exactly_when_its_rounding_is(product, left, right):
    ppm = cosine_ppm(product, left, right)

    def at_most(bound):  # product / sqrt(left · right) <= bound / 10^6, in integers
        a, b = product * 10**6, bound
        if a <= 0 <= b:
            return True
        if b < 0 <= a or (a > 0 and b <= 0):
            return False
        return (a * a <= b * b * left * right) == (a > 0) or a * a == b * b * left * right

    assert at_most(ppm)
    assert not at_most(ppm - 1)


def test_the_cosine_to_nothing_is_zero():
    assert cosine_ppm(0, 0, 9) == cosine_ppm(0, 9, 0) == cosine_ppm(0, 4, 4) == 0
    assert cosine_ppm(6, 4, 9) == 1_000_000
    assert cosine_ppm(-6, 4, 9) == -1_000_000


@given(value=st.integers(0, 2**130))
def test_a_norm_is_rounded_down_in_its_last_place(value):
    norm = norm_of(value)

    assert norm**2 <= value << 64 < (norm + 1) ** 2


def test_headroom_is_62_bits():
    check_headroom(2**30, 2**31)
    with pytest.raises(ConfigError, match="2\\^62"):
        check_headroom(2**30, 2**32)


def test_no_result_depends_on_the_order_of_rows():
    rows = random_rows(25, count=7, columns=500)
    order = [3, 0, 6, 2, 5, 1, 4]
    weights = [7, 1, 1, 65536, 3, 0, 2]
    permuted = [weights[at] for at in order]

    assert (mean_rows(rows, weights, 99) == mean_rows(rows[order], permuted, 99)).all()
    assert (median_rows(rows) == median_rows(rows[order])).all()
