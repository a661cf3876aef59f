from __future__ import annotations

import numpy as np
import pytest

from tallystick.errors import ConfigError
from tallystick.lab.datasets import BUNDLED, load_table, split

ROWS = [f"{i},{i % 3 + 0.5},{'yes' if i % 4 else 'no'}" for i in range(12)]


@pytest.fixture
def csv_file(tmp_path):
    def write(lines, name="site.csv"):
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_table_has_a_class_or_a_quantity_for_every_row(name):
    table = load_table(name)

    assert table.x.shape[0] == len(table) == len(table.y)
    assert table.x.dtype == np.float64
    if table.classes is None:
        assert table.y.dtype == np.float64
    else:
        assert set(table.y) == set(range(len(table.classes)))


def test_a_file_with_text_labels_is_a_classification(csv_file):
    table = load_table(csv_file(["age,dose,ill", *ROWS, ""]), "ill")

    assert table.name == "site"
    assert table.classes == ("no", "yes")
    assert table.y.tolist() == [int(i % 4 > 0) for i in range(12)]
    assert table.x[5].tolist() == [5.0, 2.5]


def test_the_target_may_be_any_column_and_the_file_start_with_a_mark(csv_file):
    table = load_table(csv_file(["\ufeffill, age", *(f"c{i % 2}, {i}" for i in range(9))]), "ill")

    assert table.classes == ("c0", "c1")
    assert table.x[:, 0].tolist() == list(range(9))


@pytest.mark.parametrize(
    ("targets", "classes"),
    [
        ([i % 11 for i in range(60)], tuple(map(str, range(11)))),
        ([f"{i % 2}.0" for i in range(60)], ("0", "1")),
        (list(range(60)), None),
        ([i % 2 + 0.5 for i in range(60)], None),
    ],
)
def test_few_whole_numbers_are_classes_and_others_are_quantities(csv_file, targets, classes):
    lines = [f"{i},{target}" for i, target in enumerate(targets)]

    assert load_table(csv_file(["x,y", *lines]), "y").classes == classes


@pytest.mark.parametrize(
    ("lines", "target", "says"),
    [
        ([], "y", "the file is empty"),
        (["x,y"], "y", "0 rows"),
        (["x,y", *["1,2"] * 9], None, "which column to predict"),
        (["x,y", *["1,2"] * 9], "z", "no column is named 'z'"),
        (["x,x", *["1,2"] * 9], "x", "two columns are named 'x'"),
        (["y", *["1"] * 9], "y", "'y' is the only column"),
        (["x,y", *["1,a"] * 9], "y", "every row has the target 'a'"),
        (["x,y", *["1,2"] * 3, "1,2,3"], "y", "line 5: 3 cells, the header has 2"),
        (["x,y", *["1,2"] * 3, "", "oops,2", *["1,2"] * 9], "y", "line 6, column 'x': 'oops'"),
        (["x,y", *["1,2"] * 9, "nan,2"], "y", "line 11, column 'x': 'nan'"),
        (["x,y", *["1,2"] * 9, "1,"], "y", "line 11, column 'y': the target is empty"),
        (["x,y", *["1,2"] * 9, "1,oops"], "y", "line 11, column 'y': 'oops' is not a number"),
        (["x,y", *["1,2"] * 9, "1e300,2"], "y", "line 11, column 'x': '1e300'"),
        (["x,y", '"1,2'], "y", "not a readable CSV file"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_the_place(csv_file, lines, target, says):
    path = csv_file(lines)

    with pytest.raises(ConfigError, match=says) as caught:
        load_table(path, target)
    assert "site.csv" in str(caught.value)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "model.csv").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(ConfigError, match="not a readable CSV file"):
        load_table(tmp_path / "model.csv", "y")


def test_cells_that_nothing_separates_are_told_what_does(csv_file):
    with pytest.raises(ConfigError, match="no column is named 'y'") as caught:
        load_table(csv_file(["x;y", *["1;2"] * 9]), "y")
    assert "commas" in caught.value.hint


def test_a_bundled_table_has_its_own_target():
    with pytest.raises(ConfigError, match="its own target, not 'y'"):
        load_table("wine", "y")


def test_an_unknown_name_lists_the_bundled_ones():
    with pytest.raises(ConfigError, match="named 'irises'") as caught:
        load_table("irises")
    assert "digits" in caught.value.hint


@pytest.mark.parametrize("name", ["wine", "diabetes"])
def test_a_split_is_repeatable_and_loses_no_row(name):
    table = load_table(name)
    (train, test), (again, _), (other, _) = (split(table, seed) for seed in (3, 3, 4))

    assert len(train) + len(test) == len(table)
    assert len(test) == pytest.approx(len(table) / 4, abs=2)
    assert np.array_equal(train.x, again.x)
    assert not np.array_equal(train.x, other.x)


def test_a_split_keeps_the_shares_of_the_classes():
    train, test = split(load_table("wine"), 0)
    shares = [np.bincount(part.y) / len(part) for part in (train, test)]

    assert np.allclose(*shares, atol=0.02)


def test_the_training_part_sets_the_scale_of_both():
    train, test = split(load_table("digits"), 0)
    constant = train.x.std(axis=0) == 0

    assert np.allclose(train.x.mean(axis=0), 0, atol=1e-9)
    assert np.allclose(train.x.std(axis=0)[~constant], 1)
    assert constant.any()
    assert np.isfinite(test.x).all()
    assert not np.allclose(test.x.mean(axis=0), 0, atol=1e-3)


def test_a_column_of_one_repeated_fraction_counts_as_constant(csv_file):
    rows = [f"0.1,{i},{'ab'[i % 2]}" for i in range(30)]
    train, _ = split(load_table(csv_file(["c,x,y", *rows]), "y"), 0)

    assert np.allclose(train.x[:, 0], 0)


def test_a_share_is_between_none_and_all():
    with pytest.raises(ConfigError, match=r"test_share is 1.0"):
        split(load_table("wine"), 0, 1.0)
