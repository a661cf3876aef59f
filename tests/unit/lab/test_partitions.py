from __future__ import annotations

import numpy as np
import pytest

from tallystick.errors import ConfigError
from tallystick.lab.datasets import Table, load_table
from tallystick.lab.partitions import MIN_ROWS, partition

MEMBERS = ["north", "south", "east", "west"]
KINDS = ["iid", "dirichlet:0.5", "dirichlet:0.01"]


def numbered(count, classes=3):
    x = np.arange(float(count))[:, None]
    y = np.arange(count) % classes
    return Table("numbered", x, y, tuple("abcdef"[:classes]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [16, 17, 90])
def test_every_row_falls_to_exactly_one_member_and_everybody_has_some(kind, count):
    sites = partition(numbered(count), MEMBERS, kind, seed=1)
    rows = np.concatenate([site.x[:, 0] for site in sites.values()])

    assert list(sites) == MEMBERS
    assert sorted(rows) == list(range(count))
    assert min(map(len, sites.values())) >= MIN_ROWS


def test_rows_keep_their_targets():
    for site in partition(numbered(60), MEMBERS, "dirichlet:0.5", seed=1).values():
        assert np.array_equal(site.x[:, 0].astype(int) % 3, site.y)


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides(kind):
    first, again, other = (
        np.concatenate([site.y for site in partition(numbered(90), MEMBERS, kind, seed).values()])
        for seed in (1, 1, 2)
    )

    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_iid_parts_differ_by_one_row_at_most():
    sizes = {len(site) for site in partition(numbered(91), MEMBERS, "iid", 0).values()}

    assert sizes == {22, 23}


def largest_class_share(sites):
    return np.mean([np.bincount(site.y).max() / len(site) for site in sites.values()])


def test_a_smaller_concentration_is_more_uneven():
    shares = [
        largest_class_share(partition(numbered(600), MEMBERS, kind, 0))
        for kind in ("dirichlet:1000", "dirichlet:0.5", "dirichlet:0.01")
    ]

    assert shares == sorted(shares)
    assert shares[0] < 0.45
    assert shares[2] > 0.6


def test_quantities_are_dealt_by_their_size():
    sites = partition(load_table("diabetes"), MEMBERS, "dirichlet:0.1", 0)
    means = [site.y.mean() for site in sites.values()]

    assert max(means) - min(means) > 40


@pytest.mark.parametrize(
    "kind",
    ["even", "iid:2", "dirichlet", "dirichlet:", "dirichlet:0", "dirichlet:x", "dirichlet:inf"],
)
def test_an_unknown_kind_is_refused_with_those_that_exist(kind):
    with pytest.raises(ConfigError, match="unknown partition") as caught:
        partition(numbered(90), MEMBERS, kind, 0)
    assert "dirichlet:A" in caught.value.hint


def test_too_few_rows_or_members_are_refused():
    with pytest.raises(ConfigError, match="15 rows of 'numbered' are too few for 4 members"):
        partition(numbered(15), MEMBERS, "iid", 0)
    for members in ([], ["a", "a"]):
        with pytest.raises(ConfigError, match="each only once"):
            partition(numbered(90), members, "iid", 0)
