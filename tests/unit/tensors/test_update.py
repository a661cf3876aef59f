import math
import tracemalloc
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.errors import ConfigError, UnavailableError
from tallystick.storage.blobs import FileBlobs
from tallystick.tensors.dtypes import NonFiniteError, check_denormals, narrow, widen
from tallystick.tensors.memory import MemoryBlobs
from tallystick.tensors.model import open_model, read_model, spec_of, write_model
from tallystick.tensors.update import UpdateError, apply_slice, quantise

FLOAT_KINDS = {
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "F32": np.float32,
    "F64": np.float64,
}
INT_KINDS = {
    "I8": np.int8,
    "I16": np.int16,
    "I32": np.int32,
    "I64": np.int64,
    "U8": np.uint8,
    "U16": np.uint16,
    "U32": np.uint32,
}


def quantised(before, after, exponent=-24):
    blobs = MemoryBlobs()
    spec = write_model(before, blobs.create(), exponent)
    root, size = quantise(
        open_model(blobs.open(spec.root), spec.parameters), after, spec, blobs.create()
    )
    assert size == len(blobs.open(root))
    return read_model(blobs.open(root)).arrays()


def test_an_update_counts_the_change_in_steps():
    before = {"w": np.array([[1.0, 2.0], [0.5, -1.0]], np.float32)}
    after = {"w": before["w"] + np.array([[1, -2], [0, 2.5]], np.float32) * np.float32(2**-24)}

    # Near 1 a float32 has steps of 2^-23, so some changes are already rounded there.
    exact = (after["w"].astype(float) - before["w"]) * 2**24
    update = quantised(before, after)["w"]
    assert update.dtype == np.int32
    assert update.tolist() == np.rint(exact).tolist()


@pytest.mark.parametrize("dtype", FLOAT_KINDS)
@pytest.mark.parametrize("exponent", [-24, -10, 0])
def test_quantising_agrees_with_float64_to_one_step(dtype, exponent):
    generator = np.random.default_rng(3)
    kind = FLOAT_KINDS[dtype]
    before = {"w": generator.standard_normal(200_000).astype(kind)}
    after = {"w": (before["w"].astype(float) + generator.standard_normal(200_000)).astype(kind)}

    change = after["w"].astype(float) - before["w"].astype(float)
    update = quantised(before, after, exponent)["w"]
    # The difference of two float32 is rounded to 24 bits before it is counted in steps.
    slack = 0.5 + np.abs(change) * 2.0**-exponent * 2.0**-24
    assert (np.abs(update - change * 2.0**-exponent) <= slack).all()


def test_ties_go_to_even():
    before = {"w": np.zeros(6)}
    after = {"w": np.array([0.5, 1.5, 2.5, -0.5, -1.5, 0.75]) * 2.0**-24}

    assert quantised(before, after)["w"].tolist() == [0, 2, 2, 0, -2, 1]


@pytest.mark.parametrize("dtype", INT_KINDS)
def test_integer_tensors_change_exactly(dtype):
    limits = np.iinfo(INT_KINDS[dtype])
    before = {"n": np.array([0, limits.max, limits.min, 5], INT_KINDS[dtype])}
    after = {"n": np.array([1, limits.max - 7, limits.min + 7, 2], INT_KINDS[dtype])}

    assert quantised(before, after)["n"].tolist() == [1, -7, 7, -3]


@pytest.mark.parametrize("layout", [np.asfortranarray, lambda a: a[::-1][::-1].T.copy().T])
def test_memory_order_of_what_a_trainer_returns_does_not_matter(layout):
    generator = np.random.default_rng(4)
    before = {"w": generator.standard_normal((300, 500)).astype(np.float32)}
    after = {"w": before["w"] + generator.standard_normal((300, 500)).astype(np.float32)}

    assert (
        quantised(before, after)["w"] == quantised(before, {"w": layout(after["w"])})["w"]
    ).all()


def test_empty_and_scalar_tensors_have_updates():
    before = {"e": np.zeros((0, 3), np.float32), "s": np.array(1.0, np.float32)}
    update = quantised(before, {"e": before["e"], "s": np.array(1.5, np.float32)})

    assert update["e"].shape == (0, 3)
    assert update["s"].shape == ()
    assert update["s"] == 2**23


BEFORE = {"a": np.zeros(2, np.float32), "n": np.zeros(2, np.int64)}


@pytest.mark.parametrize(
    ("after", "tensor", "cause"),
    [
        ({"a": BEFORE["a"]}, "", "names"),
        (BEFORE | {"x": BEFORE["a"]}, "", "names"),
        (BEFORE | {"a": np.zeros((2, 1), np.float32)}, "a", "shape"),
        (BEFORE | {"a": np.zeros(2)}, "a", "dtype"),
        (BEFORE | {"a": np.array([0, np.nan], np.float32)}, "a", "non-finite"),
        (BEFORE | {"a": np.array([-np.inf, 0], np.float32)}, "a", "non-finite"),
        (BEFORE | {"a": np.array([128, 0], np.float32)}, "a", "range"),
        (BEFORE | {"a": np.array([3e38, 0], np.float32)}, "a", "range"),
        (BEFORE | {"n": np.array([2**31, 0])}, "n", "range"),
        (BEFORE | {"n": np.array([-(2**31), 0])}, "n", "range"),
        (BEFORE | {"n": np.array([-(2**63), 0])}, "n", "range"),
    ],
)
def test_what_cannot_be_an_update_is_refused_by_name(after, tensor, cause):
    with pytest.raises(UpdateError) as caught:
        quantised(BEFORE, after)

    assert (caught.value.tensor, caught.value.cause) == (tensor, cause)


def test_a_change_that_wraps_in_64_bits_is_refused():
    with pytest.raises(UpdateError) as caught:
        quantised({"n": np.array([-(2**63)])}, {"n": np.array([2**63 - 1])})

    assert caught.value.cause == "range"


def test_the_largest_change_still_fits():
    after = {"a": BEFORE["a"], "n": np.array([2**31 - 1, -(2**31) + 1])}

    assert quantised(BEFORE, after)["n"].tolist() == [2**31 - 1, -(2**31) + 1]


def test_a_parent_of_other_parameters_is_refused():
    blobs = MemoryBlobs()
    spec = write_model(BEFORE, blobs.create())
    other = write_model({"a": np.zeros(3, np.float32)}, blobs.create())

    with pytest.raises(ConfigError, match="parent"):
        quantise(read_model(blobs.open(other.root)), BEFORE, spec, blobs.create())


def test_a_refused_update_leaves_nothing_behind():
    blobs = MemoryBlobs()
    spec = write_model(BEFORE, blobs.create())
    parent = read_model(blobs.open(spec.root))
    with pytest.raises(UpdateError):
        quantise(parent, BEFORE | {"n": np.array([2**31, 0])}, spec, blobs.create())

    with pytest.raises(UnavailableError):
        blobs.open(spec_of({"a": np.zeros(2, np.int32), "n": np.zeros(2, np.int32)}).root)


def test_quantising_holds_a_few_slices_whatever_the_model(tmp_path):
    generator = np.random.default_rng(5)
    before = {"w": generator.standard_normal((2000, 1000), dtype=np.float32)}
    after = {"w": before["w"] + np.float32(0.001)}
    blobs = MemoryBlobs()
    spec = write_model(before, blobs.create())
    parent = open_model(blobs.open(spec.root), spec.parameters)

    tracemalloc.start()
    quantise(parent, after, spec, FileBlobs(tmp_path).create())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 6 << 20


def rounded(value: Fraction, bits: int, lowest: int) -> Fraction:
    """The nearest number of so many bits, ties to even; the step is at least 2^lowest."""
    if not value:
        return value
    exponent = math.floor(math.log2(abs(value)))
    while Fraction(2) ** exponent > abs(value):
        exponent -= 1
    while Fraction(2) ** (exponent + 1) <= abs(value):
        exponent += 1
    step = Fraction(2) ** max(exponent - bits + 1, lowest)
    return round(value / step) * step


FORMATS = {"F16": (11, -24), "BF16": (8, -133), "F32": (24, -149), "F64": (53, -1074)}


@settings(max_examples=400, deadline=None)
@given(
    dtype=st.sampled_from(sorted(FLOAT_KINDS)),
    parent=st.floats(-60000, 60000, width=16),
    combined=st.integers(-(2**31), 2**31),
    exponent=st.sampled_from([-60, -30, -24, -10]),
)
def test_applying_rounds_exactly_as_written(dtype, parent, combined, exponent):
    raw = np.array([parent]).astype(FLOAT_KINDS[dtype])
    wide = FORMATS["F64" if dtype == "F64" else "F32"]
    change = rounded(Fraction(combined), *wide) * Fraction(2) ** exponent
    total = rounded(Fraction(float(raw[0])) + change, *wide)
    expected = rounded(total, *FORMATS[dtype])
    view = raw.view(np.uint16) if dtype == "BF16" else raw
    if abs(expected) > float(ml_dtypes.finfo(FLOAT_KINDS[dtype]).max):
        with pytest.raises(NonFiniteError):
            apply_slice(view, np.array([combined]), dtype, exponent)
        return

    result = apply_slice(view, np.array([combined]), dtype, exponent).view(FLOAT_KINDS[dtype])
    assert Fraction(float(result[0])) == expected


@pytest.mark.parametrize("dtype", INT_KINDS)
def test_integers_add_exactly_or_not_at_all(dtype):
    limits = np.iinfo(INT_KINDS[dtype])
    raw = np.array([limits.max - 1, limits.min + 1, 4], INT_KINDS[dtype])

    assert apply_slice(raw, np.array([1, -1, 3]), dtype, 0).tolist() == [limits.max, limits.min, 7]
    for change in ([2, 0, 0], [0, -2, 0]):
        with pytest.raises(NonFiniteError):
            apply_slice(raw, np.array(change), dtype, 0)


def test_a_result_beyond_the_largest_number_is_refused():
    largest = np.array([np.finfo(np.float32).max])

    with pytest.raises(NonFiniteError):
        apply_slice(largest.astype(np.float32), np.array([2**62]), "F32", 60)
    with pytest.raises(NonFiniteError):
        narrow(np.array([65520.0], np.float32), "F16")
    with pytest.raises(NonFiniteError):
        narrow(np.array([3.4e38], np.float32), "BF16")


@pytest.mark.parametrize("bits", [0x7F800001, 0xFFFFFFFF, 0x7FC00000, 0x7F7FFFFF])
def test_no_pattern_of_bits_slips_through_as_a_bfloat16(bits):
    with pytest.raises(NonFiniteError):
        narrow(np.array([bits], np.uint32).view(np.float32), "BF16")


def test_bfloat16_rounds_as_its_library_does():
    generator = np.random.default_rng(6)
    patterns = generator.integers(0, 2**32, 100_000, dtype=np.uint32)
    values = patterns.view(np.float32)
    values = values[np.isfinite(values) & (np.abs(values) < 3e38)]
    ours = narrow(values, "BF16")

    assert (ours == values.astype(ml_dtypes.bfloat16).view(np.uint16)).all()
    assert (widen(ours, "BF16") == ours.view(ml_dtypes.bfloat16).astype(np.float32)).all()


def test_a_step_below_the_smallest_normal_number_is_kept():
    smallest = np.array([2.0**-126], np.float32)
    check_denormals()

    assert apply_slice(smallest, np.array([0]), "F32", -60)[0] == smallest[0]
    assert apply_slice(np.array([2.0**-149], np.float32), np.array([0]), "F32", 0)[0] == 2.0**-149
