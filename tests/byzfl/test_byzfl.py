"""The rules against ByzFL, written by others: the same selections, results within rounding.

ByzFL is called by its documented NumPy interface. Krum counts differently there: the paper's score
is over the n - f - 2 nearest others, ByzFL's over n - f - 1, so its f is one more than ours.
"""

import warnings

import numpy as np
import pytest
from support.cases import Case

pytestmark = pytest.mark.byzfl

HALF = 0.5 + 1e-6
by_case = pytest.mark.parametrize("number", range(200))


@pytest.fixture(scope="module")
def byzfl():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import byzfl as package  # noqa: PLC0415 - only this stage has it

    return package


def agree(found, expected, allowed):
    assert not isinstance(found, str), found
    assert np.abs(found - expected).max() <= allowed


@by_case
def test_mean_and_median(byzfl, number):
    case = Case(number)

    agree(case.fold("mean"), byzfl.Average()(case.rows), HALF)
    agree(case.fold("median"), byzfl.Median()(case.rows), HALF)


@by_case
def test_trimmed_mean(byzfl, number):
    case = Case(number)

    agree(case.fold("trimmed-mean", f=case.f), byzfl.TrMean(case.f)(case.rows), HALF)


@by_case
def test_mean_around_median(byzfl, number):
    case = Case(number)

    agree(case.fold("mean-around-median", f=case.f), byzfl.Meamed(case.f)(case.rows), HALF)


@by_case
def test_krum(byzfl, number):
    case = Case(number, least=7)

    agree(case.fold("krum", f=case.f), byzfl.Krum(case.f + 1)(case.rows), 0)


@by_case
def test_multi_krum(byzfl, number):
    case = Case(number, least=7)
    m = case.n - case.f - 1

    agree(case.fold("multi-krum", f=case.f, m=m), byzfl.MultiKrum(case.f + 1)(case.rows), HALF)


@by_case
def test_geometric_median(byzfl, number):
    case = Case(number)
    expected = byzfl.GeometricMedian(nu=1.0, T=1000)(case.rows)  # from zero; ours from the mean

    agree(case.fold("geometric-median", iterations=200), expected, HALF + 1e-4 * case.size)


@by_case
@pytest.mark.parametrize("steps", [1, 3])
def test_centred_clipping(byzfl, number, steps):
    case = Case(number)
    radius = int(np.median(np.linalg.norm(case.rows, axis=1)))
    expected = byzfl.CenteredClipping(L=steps, tau=float(radius))(case.rows)

    found = case.fold("centred-clipping", radius=radius, iterations=steps)
    agree(found, expected, HALF + steps * case.size * 2**-14)


@by_case
def test_clipping_to_the_median_length(byzfl, number):
    case = Case(number)
    lengths = np.linalg.norm(case.rows, axis=1)
    clipped = byzfl.Clipping(c=float(np.median(lengths)))(case.rows.copy())

    agree(case.fold("clipped-mean"), clipped.mean(axis=0), HALF + case.size * 2**-15)
    agree(case.fold("clipped-median"), np.median(clipped, axis=0), 1 + case.size * 2**-15)


@by_case
@pytest.mark.parametrize("after", ["mean", "median", "trimmed-mean"])
def test_nearest_neighbour_mixing(byzfl, number, after):
    case = Case(number)
    rules = {
        "mean": byzfl.Average(),
        "median": byzfl.Median(),
        "trimmed-mean": byzfl.TrMean(case.f),
    }
    expected = rules[after](byzfl.NNM(case.f)(case.rows))

    found = case.fold("nearest-neighbour-mixing", f=case.f, then=f"aggregate/{after}/1")
    agree(found, expected, 1 + HALF)


@by_case
def test_krum_after_nearest_neighbour_mixing(byzfl, number):
    case = Case(number, least=7)
    expected = byzfl.Krum(case.f + 1)(byzfl.NNM(case.f)(case.rows))

    found = case.fold("nearest-neighbour-mixing", f=case.f, then="aggregate/krum/1")
    agree(found, expected, 1 + 1e-6 * case.size)
