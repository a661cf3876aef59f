import tracemalloc

import ml_dtypes
import numpy as np
import pytest

from tallystick.errors import ConfigError, DecodeError, InvariantError, UnavailableError
from tallystick.storage.blobs import FileBlobs
from tallystick.tensors import streaming
from tallystick.tensors.arithmetic import mean_rows
from tallystick.tensors.dtypes import NonFiniteError
from tallystick.tensors.memory import MemoryBlobs
from tallystick.tensors.model import model_bytes, open_model, read_model, write_model
from tallystick.tensors.order import median_rows
from tallystick.tensors.update import quantise
from tallystick.tensors.workbench import RANGE, SHAPE, Workbench

EXPONENTS = {"conv": -24, "bias": -20, "half": -16, "brain": -12}


def parameters(generator):
    return {
        "bias": generator.standard_normal(33),
        "brain": generator.standard_normal((4, 4)).astype(ml_dtypes.bfloat16),
        "conv": generator.standard_normal((40, 30)).astype(np.float32),
        "empty": np.zeros((0, 5), np.float32),
        "half": generator.standard_normal(9).astype(np.float16),
        "seen": np.array(10, np.int64),
        "tail": np.array([1, 2, 3], np.uint8),
    }


def changed(arrays, generator):
    after = {
        name: (array.astype(float) + 0.01 * generator.standard_normal(array.shape)).astype(
            array.dtype
        )
        for name, array in arrays.items()
    }
    return after | {"seen": arrays["seen"] + 5, "tail": arrays["tail"] + np.uint8(1)}


class Task:
    """A model and some updates to it."""

    def __init__(self, count=5, seed=0, blobs=None):
        generator = np.random.default_rng(seed)
        self.blobs = blobs if blobs is not None else MemoryBlobs()
        self.arrays = parameters(generator)
        self.spec = write_model(self.arrays, self.blobs.create(), EXPONENTS)
        self.parent = (self.spec.root, self.spec.size)
        file = open_model(self.blobs.open(self.spec.root), self.spec.parameters)
        self.trained = [changed(self.arrays, generator) for _ in range(count)]
        self.updates = [
            quantise(file, after, self.spec, self.blobs.create()) for after in self.trained
        ]
        self.roots = [root for root, _ in self.updates]

    def values(self, root):
        return read_model(self.blobs.open(root)).arrays()

    def product(self, left, right):
        """The exact product of two updates, in squares of the finest step."""
        a, b, total = self.values(left), self.values(right), 0
        for name, exponent in EXPONENTS.items():
            pairs = zip(a[name].reshape(-1).tolist(), b[name].reshape(-1).tolist(), strict=True)
            total += sum(x * y for x, y in pairs) * 4 ** (exponent + 24)
        return total


def mean(rows, weights):
    return mean_rows(rows, [1] * len(rows), len(rows))


def median(rows, weights):
    return median_rows(rows)


@pytest.fixture(scope="module")
def task():
    return Task()


def test_a_fair_update_has_nothing_wrong(task):
    bench = Workbench(task.blobs)

    assert [bench.check_update(root, size, task.spec) for root, size in task.updates] == [""] * 5


def test_an_update_of_another_shape_is_seen(task):
    bench = Workbench(task.blobs)
    root, size = task.updates[0]
    other, other_size = task.blobs.put(model_bytes({"w": np.zeros(3, np.int32)}))
    junk, junk_size = task.blobs.put(bytes(size))

    assert bench.check_update(other, other_size, task.spec) == SHAPE
    assert bench.check_update(junk, junk_size, task.spec) == SHAPE
    assert bench.check_update(*task.parent, task.spec) == SHAPE
    assert bench.check_update(root, size - 1, task.spec) == SHAPE
    assert bench.check_update(root, 0, task.spec) == SHAPE
    with pytest.raises(ConfigError):
        bench.norms([other], task.spec)


@pytest.mark.parametrize("value", [8, -8, -(2**31), 2**31 - 1])
def test_a_value_out_of_range_is_seen_wherever_it_is(task, value):
    bench = Workbench(task.blobs)
    for name in ("bias", "seen", "tail"):
        values = {each: np.zeros_like(array) for each, array in task.values(task.roots[0]).items()}
        values[name].reshape(-1)[-1] = value
        root, size = task.blobs.put(model_bytes(values))

        assert bench.check_update(root, size, task.spec, abs(value) - 1) == RANGE
        assert bench.check_update(root, size, task.spec, abs(value)) == ""


def test_a_missing_blob_is_unavailable_and_not_remembered(task):
    blobs = MemoryBlobs()
    bench = Workbench(blobs)
    root, size = task.updates[0]
    with pytest.raises(UnavailableError):
        bench.check_update(root, size, task.spec)
    blobs.put(task.blobs.open(root))

    assert bench.check_update(root, size, task.spec) == ""


def test_geometry_is_exact_in_the_finest_step_and_of_floats_only(task):
    bench = Workbench(task.blobs)
    expected = tuple(tuple(task.product(a, b) for b in task.roots) for a in task.roots)

    assert bench.gram(task.roots, task.spec) == expected
    assert bench.norms(task.roots, task.spec) == tuple(expected[at][at] for at in range(5))
    assert bench.gram([], task.spec) == ()
    assert bench.norms([], task.spec) == ()


def test_geometry_follows_the_order_asked_for(task):
    bench = Workbench(task.blobs)
    whole = bench.gram(task.roots, task.spec)
    order = [3, 1, 1, 4]

    found = bench.gram([task.roots[at] for at in order], task.spec)
    assert found == tuple(tuple(whole[a][b] for b in order) for a in order)


def test_geometry_agrees_with_floats(task):
    bench = Workbench(task.blobs)
    steps = [
        np.concatenate(
            [
                (after[name].astype(float) - task.arrays[name].astype(float)).reshape(-1)
                for name in EXPONENTS
            ]
        )
        for after in task.trained
    ]

    exact = np.array(bench.gram(task.roots, task.spec), float) * 4.0**-24
    # Half a step of the coarsest exponent, 2^-13, on changes of about 0.01.
    assert np.allclose(exact, np.array(steps) @ np.array(steps).T, atol=2e-3)


@pytest.mark.parametrize("combine", [mean, median])
def test_the_combined_model_agrees_with_numpy(task, combine):
    bench = Workbench(task.blobs)
    root, size = bench.combine(task.parent, task.spec, task.roots, None, combine)
    result = read_model(task.blobs.open(root)).arrays()

    assert size == task.spec.size
    assert result["seen"] == 15
    assert result["tail"].tolist() == [2, 3, 4]
    oracle = {mean: np.mean, median: np.median}[combine]
    for name, exponent in EXPONENTS.items():
        kind = task.arrays[name].dtype
        expected = oracle([after[name].astype(float) for after in task.trained], axis=0)
        slack = 2.0**exponent + float(ml_dtypes.finfo(kind).eps) * np.abs(expected)
        assert (np.abs(result[name].astype(float) - expected) <= slack).all(), name


def test_the_preview_of_one_update_is_the_model_it_would_make(task):
    bench = Workbench(task.blobs)
    root, _ = bench.combine(task.parent, task.spec, task.roots[:1], None, mean)
    expected = read_model(task.blobs.open(root)).arrays()
    preview = bench.preview(task.parent, task.spec, task.roots[0])

    assert {name: array.tobytes() for name, array in preview.items()} == {
        name: array.tobytes() for name, array in expected.items()
    }
    parent = bench.preview(task.parent, task.spec)
    assert all(parent[name].tobytes() == task.arrays[name].tobytes() for name in task.arrays)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("chunk", [1, 7, 64, 10_000])
def test_neither_chunks_nor_threads_reach_the_model(task, monkeypatch, threads, chunk):
    expected = Workbench(task.blobs, 1).combine(task.parent, task.spec, task.roots, None, mean)
    products = Workbench(task.blobs, 1).gram(task.roots, task.spec)
    for name in ("CHUNK", "MIN_CHUNK", "BLOCK"):
        monkeypatch.setattr(streaming, name, chunk * (3 if name == "BLOCK" else 1))
        monkeypatch.setattr(f"tallystick.tensors.workbench.{name}", chunk, raising=False)

    bench = Workbench(task.blobs, threads)
    assert bench.combine(task.parent, task.spec, task.roots, None, mean) == expected
    assert bench.gram(task.roots, task.spec) == products
    assert bench.norms(task.roots, task.spec) == tuple(products[at][at] for at in range(5))


def test_the_order_of_updates_does_not_reach_the_model(task):
    one = Workbench(task.blobs).combine(task.parent, task.spec, task.roots, None, mean)
    other = Workbench(task.blobs).combine(task.parent, task.spec, task.roots[::-1], None, mean)

    assert one == other


def test_a_result_is_computed_once(task):
    calls = []

    def counting(rows, weights):
        calls.append(len(rows))
        return mean(rows, weights)

    bench = Workbench(task.blobs, 1)
    first = bench.combine(task.parent, task.spec, task.roots, (1,), counting)
    before = len(calls)

    assert bench.combine(task.parent, task.spec, task.roots, (1,), counting) == first
    assert len(calls) == before
    bench.combine(task.parent, task.spec, task.roots, (2,), counting)
    assert len(calls) == 2 * before


def test_a_model_that_left_the_store_is_made_again(tmp_path):
    task = Task(count=2, blobs=FileBlobs(tmp_path))
    bench = Workbench(task.blobs)
    root, size = bench.combine(task.parent, task.spec, task.roots, None, mean)
    task.blobs.delete(root)
    assert not task.blobs.has(root)

    assert bench.combine(task.parent, task.spec, task.roots, None, mean) == (root, size)
    assert task.blobs.has(root)


def test_a_model_that_would_not_be_finite_is_not_made():
    blobs = MemoryBlobs()
    arrays = {"w": np.full(5, np.finfo(np.float16).max, np.float16)}
    spec = write_model(arrays, blobs.create(), 0)
    root, _ = blobs.put(model_bytes({"w": np.full(5, 100, np.int32)}))
    bench = Workbench(blobs)

    with pytest.raises(NonFiniteError):
        bench.combine((spec.root, spec.size), spec, [root], None, mean)
    with pytest.raises(NonFiniteError):
        bench.preview((spec.root, spec.size), spec, root)


def test_rules_may_not_write_to_their_rows(task):
    def writing(rows, weights):
        rows[0][0] = 1
        return mean(rows, weights)

    with pytest.raises(ValueError, match="read-only"):
        Workbench(task.blobs).combine(task.parent, task.spec, task.roots, None, writing)


@pytest.mark.parametrize("wrong", [np.zeros(3), np.zeros(1, np.int64), np.zeros((1, 3), np.int64)])
def test_a_rule_that_returns_something_else_is_our_bug(task, wrong):
    with pytest.raises(InvariantError):
        Workbench(task.blobs).combine(
            task.parent, task.spec, task.roots, None, lambda rows, weights: wrong
        )


def test_a_parent_of_another_size_is_refused(task):
    with pytest.raises(DecodeError):
        Workbench(task.blobs).preview((task.spec.root, 3), task.spec)


@pytest.mark.parametrize("count", [4, 16])
def test_memory_does_not_grow_with_the_number_of_updates(tmp_path, count):
    generator = np.random.default_rng(0)
    blobs = FileBlobs(tmp_path, durable=False)
    elements = 3_000_000
    spec = write_model({"w": np.zeros(elements, np.float32)}, blobs.create())
    roots = []
    for _ in range(count):
        values = generator.integers(-(2**20), 2**20, elements, dtype=np.int32)
        roots.append(blobs.put(model_bytes({"w": values}))[0])
    bench = Workbench(blobs, 2)

    tracemalloc.start()
    bench.gram(roots, spec)
    bench.norms(roots, spec)
    bench.combine((spec.root, spec.size), spec, roots, None, mean)
    bench.combine((spec.root, spec.size), spec, roots, None, median)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    # All rows at once would be 48 MB and 192 MB.
    assert peak < 60 << 20


def test_the_preview_of_several_updates_is_of_their_mean(task):
    bench = Workbench(task.blobs)
    root, _ = bench.combine(task.parent, task.spec, task.roots, None, mean)

    preview = bench.preview(task.parent, task.spec, *task.roots)
    assert {name: array.tobytes() for name, array in preview.items()} == {
        name: array.tobytes() for name, array in task.values(root).items()
    }


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("combine", [mean, median])
def test_products_with_a_combination_are_those_of_an_update_like_it(task, threads, combine):
    values = [task.values(root) for root in task.roots]
    combined = {
        name: combine([each[name].reshape(-1) for each in values], None)
        .reshape(values[0][name].shape)
        .astype(np.int32)
        for name in values[0]
    }
    root, _ = task.blobs.put(model_bytes(combined))
    bench = Workbench(task.blobs, threads)

    found = bench.gram_with(task.roots, task.spec, None, combine)
    assert found == Workbench(task.blobs).gram([*task.roots, root], task.spec)
    assert bench.gram_with(task.roots, task.spec, None, combine) is found


def test_the_change_between_two_models_is_the_update_that_makes_it(task):
    bench = Workbench(task.blobs)
    made = bench.combine(task.parent, task.spec, task.roots, None, median)

    root, size = bench.change(task.parent[0], made[0], task.spec)
    assert bench.check_update(root, size, task.spec, 2**31 - 1) == ""
    again = bench.preview(task.parent, task.spec, root)
    assert {name: array.tobytes() for name, array in again.items()} == {
        name: array.tobytes() for name, array in task.values(made[0]).items()
    }
    assert bench.change(task.parent[0], made[0], task.spec) == (root, size)


def test_a_change_that_left_the_store_is_made_again(task):
    blobs = MemoryBlobs()
    for each in (task.parent[0], *task.roots):
        blobs.put(task.blobs.open(each))
    bench = Workbench(blobs)
    made = bench.combine(task.parent, task.spec, task.roots, None, median)
    root, size = bench.change(task.parent[0], made[0], task.spec)
    del blobs._blobs[root]

    assert bench.change(task.parent[0], made[0], task.spec) == (root, size)
    assert blobs.has(root)


def test_what_is_no_model_has_no_change(task):
    bench = Workbench(task.blobs)

    assert bench.change(task.roots[0], task.parent[0], task.spec) is None
    assert bench.change(task.parent[0], task.roots[0], task.spec) is None
    with pytest.raises(UnavailableError):
        bench.change(bytes(32), task.parent[0], task.spec)


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_a_change_beyond_32_bits_is_none_and_leaves_nothing(dtype):
    blobs = MemoryBlobs()
    low, high = (
        write_model({"w": np.array([0, value], dtype)}, blobs.create(), 0) for value in (0, 2**40)
    )
    count = len(blobs._blobs)

    assert Workbench(blobs).change(low.root, high.root, low) is None
    assert len(blobs._blobs) == count


@pytest.mark.parametrize("weights", [(1, 9), (0, 10), (3, 3)])
def test_a_mixture_of_updates_is_an_update(task, weights):
    bench = Workbench(task.blobs)
    root, size = bench.mix(task.roots[:2], task.spec, weights, 10)
    left, right, mixed = (task.values(each) for each in (*task.roots[:2], root))

    assert bench.check_update(root, size, task.spec) == ""
    for name, values in mixed.items():
        pairs = zip(left[name].reshape(-1).tolist(), right[name].reshape(-1).tolist(), strict=True)
        expected = [(weights[0] * a + weights[1] * b + 5) // 10 for a, b in pairs]
        assert values.reshape(-1).tolist() == expected
