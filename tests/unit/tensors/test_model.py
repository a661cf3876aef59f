import json
import tracemalloc

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.crypto.hashes import blob_root
from tallystick.errors import ConfigError, DecodeError
from tallystick.tensors.dtypes import RAW
from tallystick.tensors.layout import check_parameters
from tallystick.tensors.memory import MemoryBlobs
from tallystick.tensors.model import (
    ModelFile,
    check_finite,
    flat_slices,
    model_bytes,
    open_model,
    read_model,
    spec_of,
    write_model,
)
from tallystick.tensors.spec import Parameter

GENERATOR = np.random.default_rng(0)
ARRAYS = {
    "b/half": GENERATOR.standard_normal((3, 2)).astype(np.float16),
    "a.weight": GENERATOR.standard_normal((4, 5)).astype(np.float32),
    "brain": GENERATOR.standard_normal(7).astype(ml_dtypes.bfloat16),
    "count": np.array(12, np.int64),
    "empty": np.zeros((3, 0, 2), np.float32),
    "flags": np.array([1, 0, 255], np.uint8),
    "i8": np.array([-128, 127, 3], np.int8),
    "u32": np.array([[2**32 - 1]], np.uint32),
    "wide": GENERATOR.standard_normal(5),
    'ünï "\\': np.arange(3, dtype=np.int16),
}


def as_bytes(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8)


def a_file(header: object, data: bytes = b"", pad: bool = True) -> np.ndarray:
    text = (
        header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    )
    if pad:
        text += b" " * (-len(text) % 8)
    return as_bytes(len(text).to_bytes(8, "little") + text + data)


def test_every_dtype_survives_writing_and_reading():
    model = read_model(as_bytes(model_bytes(ARRAYS)))

    read = model.arrays()
    assert list(read) == sorted(ARRAYS)
    for name, array in ARRAYS.items():
        assert read[name].dtype == array.dtype
        assert read[name].shape == array.shape
        assert read[name].tobytes() == array.tobytes()


def test_the_official_library_reads_our_files():
    official = dict(safetensors.deserialize(model_bytes(ARRAYS)))

    assert set(official) == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert bytes(official[name]["data"]) == array.tobytes()
        assert tuple(official[name]["shape"]) == array.shape


def test_a_canonical_file_of_the_official_library_is_read():
    arrays = {name: array for name, array in ARRAYS.items() if array.dtype == np.float32}
    official = safetensors.numpy.save(arrays)

    assert official == model_bytes(arrays)
    assert (
        read_model(as_bytes(official)).arrays()["a.weight"].tolist() == arrays["a.weight"].tolist()
    )


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4), (70, 1000)])
def test_memory_order_does_not_reach_the_file(shape):
    array = GENERATOR.standard_normal(shape).astype(np.float32)
    reversed_view = np.ascontiguousarray(array[..., ::-1])[..., ::-1]

    expected = model_bytes({"w": array})
    assert model_bytes({"w": np.asfortranarray(array)}) == expected
    assert model_bytes({"w": reversed_view}) == expected
    assert model_bytes({"w": array.astype(">f4")}) == expected
    assert safetensors.numpy.load(expected)["w"].tolist() == array.tolist()


def test_a_large_tensor_out_of_order_is_cut_without_a_copy():
    array = np.asfortranarray(np.arange(5_000_000, dtype=np.int32).reshape(2500, 2000))

    assert np.concatenate(list(flat_slices(array, 1 << 16))).tolist() == array.ravel().tolist()


def test_the_spec_is_the_same_streamed_stored_or_read():
    blobs = MemoryBlobs()
    spec = write_model(ARRAYS, blobs.create())

    stored = blobs.open(spec.root)
    assert spec == spec_of(ARRAYS) == read_model(stored).spec()
    assert (spec.root, spec.size) == (blob_root(stored), len(stored))
    assert [p.exponent for p in spec.parameters if p.dtype.startswith(("I", "U"))] == [0] * 5


def test_exponents_are_for_all_or_by_name():
    arrays = {"a": np.zeros(1, np.float32), "b": np.zeros(1), "n": np.zeros(1, np.int8)}

    assert [p.exponent for p in spec_of(arrays, -10).parameters] == [-10, -10, 0]
    assert [p.exponent for p in spec_of(arrays, {"a": -3}).parameters] == [-3, -24, 0]
    with pytest.raises(ConfigError, match="exponent -61"):
        spec_of(arrays, -61)


def test_reading_copies_no_tensor_and_forbids_writing():
    data = as_bytes(model_bytes(ARRAYS)).copy()
    model = read_model(data)

    for name in ARRAYS:
        raw = model.raw(name)
        assert raw.size == 0 or np.shares_memory(raw, data)
        with pytest.raises(ValueError, match="read-only"):
            raw[...] = 0


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(2, bool),
        np.zeros(2, np.complex64),
        np.zeros(2, np.uint64),
        np.array([object()]),
        np.array(["text"]),
        np.zeros(2, ml_dtypes.float8_e4m3fn),
        np.zeros(2, np.longdouble),
        [1.0, 2.0],
    ],
    ids=lambda array: str(getattr(array, "dtype", type(array).__name__)),
)
def test_a_dtype_no_model_can_hold_is_refused_by_tensor_and_name(array):
    with pytest.raises(ConfigError, match="tensor 'bad'") as caught:
        model_bytes({"good": np.zeros(1), "bad": array})

    assert (array.dtype.name if isinstance(array, np.ndarray) else "list") in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16])
def test_a_model_holds_no_nan_or_infinity(dtype, value):
    blobs = MemoryBlobs()
    arrays = {"fine": np.zeros(3), "w": np.array([0.0, value, 1.0]).astype(dtype)}

    with pytest.raises(ConfigError, match="tensor 'w'"):
        write_model(arrays, blobs.create())
    with pytest.raises(ConfigError, match="tensor 'w'"):
        spec_of(arrays)
    good = bytearray(model_bytes({"w": np.zeros(3, dtype)}))
    good[-arrays["w"].nbytes :] = arrays["w"].tobytes()
    with pytest.raises(ConfigError, match="tensor 'w'"):
        check_finite(read_model(as_bytes(bytes(good))))


@pytest.mark.parametrize("name", ["", "x" * 257, "__metadata__", "\ud800"])
def test_a_bad_name_is_refused(name):
    with pytest.raises(ConfigError):
        model_bytes({name: np.zeros(1)})


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
HUGE = 2**63 - 1


@pytest.mark.parametrize(
    ("why", "data"),
    [
        ("empty", as_bytes(b"")),
        ("short", as_bytes(b"\x00" * 7)),
        ("header beyond the file", as_bytes(b"\xff" * 8)),
        ("header beyond the cap", as_bytes((9 << 20).to_bytes(8, "little") + b" " * (9 << 20))),
        ("no object", a_file(b"[]")),
        ("no JSON", a_file(b"{")),
        ("not UTF-8", a_file(b'{"\xff":{}}')),
        ("deep nesting", a_file(b"[" * 100_000)),
        ("deep entry", a_file(b'{"a":{"shape":' + b"[" * 100_000)),
        ("metadata", a_file({"__metadata__": {"x": "y"}, "a": ENTRY}, bytes(8))),
        ("no pad", a_file({"a": ENTRY}, bytes(8), pad=False)),
        ("too much pad", a_file(json.dumps({"a": ENTRY}).encode() + b" " * 64, bytes(8))),
        ("white space", a_file(json.dumps({"a": ENTRY}).encode(), bytes(8))),
        ("other field order", a_file({"a": dict(reversed(ENTRY.items()))}, bytes(8))),
        ("unknown field", a_file({"a": ENTRY | {"more": 1}}, bytes(8))),
        ("missing field", a_file({"a": {"dtype": "F32", "shape": [2]}}, bytes(8))),
        ("unknown dtype", a_file({"a": ENTRY | {"dtype": "F8_E4M3"}}, bytes(8))),
        ("float shape", a_file({"a": ENTRY | {"shape": [2.0]}}, bytes(8))),
        ("negative shape", a_file({"a": ENTRY | {"shape": [-2]}}, bytes(8))),
        ("huge shape", a_file({"a": ENTRY | {"shape": [HUGE] * 8}}, bytes(8))),
        ("beyond 64 bits", a_file(b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b"]}}")),
        ("nine dimensions", a_file({"a": ENTRY | {"shape": [1] * 8 + [2]}}, bytes(8))),
        ("huge offsets", a_file({"a": ENTRY | {"data_offsets": [0, HUGE]}}, bytes(8))),
        ("gap", a_file({"a": ENTRY | {"data_offsets": [8, 16]}}, bytes(16))),
        ("overlap", a_file({"a": ENTRY, "b": ENTRY}, bytes(8))),
        ("unsorted", a_file({"b": ENTRY, "a": ENTRY | {"data_offsets": [8, 16]}}, bytes(16))),
        ("twice", a_file(b'{"a":%b,"a":%b}' % ((json.dumps(ENTRY).encode(),) * 2), bytes(8))),
        ("escaped name", a_file(b'{"\\u0061":' + model_bytes({"a": np.zeros(2)})[13:64])),
        ("missing byte", a_file({"a": ENTRY}, bytes(7))),
        ("extra byte", a_file({"a": ENTRY}, bytes(9))),
        ("wrong kind", np.zeros(64, np.float32)),
        ("wrong shape", np.zeros((2, 64), np.uint8)),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_anything_but_the_canonical_file_is_refused(why, data):
    with pytest.raises(DecodeError):
        read_model(data)


def test_the_hostile_cases_differ_from_a_good_file_only_in_their_fault():
    assert read_model(a_file({"a": ENTRY}, bytes(8))).arrays()["a"].tolist() == [0, 0]


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_mutation_is_read_as_the_same_model(data):
    good = bytearray(model_bytes({"w": np.arange(4, dtype=np.float32), "n": np.zeros(1, np.int8)}))
    end = int.from_bytes(good[:8], "little") + 8
    at = data.draw(st.integers(0, end - 1))
    bad = bytearray(good)
    bad[at] = data.draw(st.integers(0, 255).filter(lambda value: value != good[at]))
    try:
        model = read_model(as_bytes(bytes(bad)))
    except DecodeError:
        return

    # Only another name, or another dtype of the same width, can still be canonical.
    assert model_bytes(model.arrays()) == bytes(bad)
    with pytest.raises(DecodeError):
        open_model(as_bytes(bytes(bad)), read_model(as_bytes(bytes(good))).parameters)


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=200))
def test_random_bytes_raise_only_decode_errors(data):
    with pytest.raises(DecodeError):
        read_model(as_bytes(len(data).to_bytes(8, "little") + data))


def test_opening_with_known_parameters_takes_that_model_and_no_other():
    data = as_bytes(model_bytes(ARRAYS))
    spec = spec_of(ARRAYS)

    assert isinstance(open_model(data, spec.parameters), ModelFile)
    with pytest.raises(DecodeError):
        open_model(data[:-1], spec.parameters)
    with pytest.raises(DecodeError):
        open_model(as_bytes(model_bytes({"w": np.zeros(3)})), spec.parameters)


def test_the_dtypes_on_file_are_those_of_the_terms():
    assert all(kind.newbyteorder("<") == kind for kind in RAW.values())


@pytest.mark.parametrize("unseen", ["\n", "\x00", "\x1b[31m", "\x7f", "\x9b", "\u2028", "\u202e"])
def test_a_name_holds_no_character_that_could_forge_a_line(unseen):
    with pytest.raises(ConfigError, match="control characters") as caught:
        model_bytes({f"x{unseen}y": np.zeros(1)})
    with pytest.raises(DecodeError):
        read_model(a_file({f"x{unseen}y": ENTRY}, bytes(8)))

    assert str(caught.value).isprintable()


@pytest.mark.parametrize("shape", [(0, 2**62), (2**62, 0), (2**30, 2**30, 0), (2**60, 0)])
@pytest.mark.parametrize("dtype", ["I8", "F64"])
def test_a_shape_beyond_what_arrays_count_is_refused_though_it_is_empty(shape, dtype):
    entry = {"dtype": dtype, "shape": list(shape), "data_offsets": [0, 0]}
    exponent = -24 if dtype == "F64" else 0
    with pytest.raises(DecodeError):
        read_model(a_file({"a": entry}))
    with pytest.raises(ConfigError):
        check_parameters((Parameter("a", shape, dtype, exponent),))


def test_the_largest_empty_shape_is_an_array():
    entry = {"dtype": "F64", "shape": [0, 2**60 - 1], "data_offsets": [0, 0]}

    assert read_model(a_file({"a": entry})).arrays()["a"].shape == (0, 2**60 - 1)


@pytest.mark.parametrize(
    "parameters",
    [
        (Parameter("a", (1,), "I32", -3),),
        (Parameter("__metadata__", (1,), "F32"),),
        (Parameter("a", (2**62,), "F64"),),
        (Parameter("b", (1,), "F32"), Parameter("a", (1,), "F32")),
        tuple(Parameter(f"{at:04}" + "\U0001f600" * 252, (0,) * 8, "F32") for at in range(8192)),
    ],
    ids=["exponent", "metadata", "too large", "unsorted", "header"],
)
def test_parameters_without_a_file_are_refused_though_no_file_is_at_hand(parameters):
    with pytest.raises(ConfigError):
        check_parameters(parameters)


@pytest.mark.parametrize(
    "entry",
    [b'"%d":{"dtype":"U8","shape":[],"data_offsets":[0,0]}', b'"{%d": {}', b'"%d": {"x":{}}'],
)
def test_a_header_of_too_many_entries_is_refused_before_they_are_made(entry):
    header = b"{" + b",".join(entry % at for at in range(150_000)) + b"}"
    data = a_file(header)
    tracemalloc.start()
    with pytest.raises(DecodeError):
        read_model(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 2 * len(header) + (1 << 20)


def test_names_full_of_braces_are_names():
    arrays = {"{" * 200 + f'"{at:03}': np.zeros(1, np.int8) for at in range(100)}

    assert read_model(as_bytes(model_bytes(arrays))).arrays().keys() == arrays.keys()


@pytest.mark.parametrize("shape", [(6,), (2, 3), ()])
def test_bfloat16_of_either_byte_order_is_stored_alike(shape):
    values = np.arange(1, 7)[: int(np.prod(shape))].reshape(shape).astype(ml_dtypes.bfloat16)
    swapped = values.astype(values.dtype.newbyteorder(">"))

    assert model_bytes({"w": swapped}) == model_bytes({"w": values})
    assert model_bytes({"w": swapped.T}) == model_bytes({"w": values.T})


def test_a_masked_array_is_refused_by_name():
    masked = np.ma.masked_array(np.zeros(3), mask=[0, 1, 0])

    with pytest.raises(ConfigError, match=r"tensor 'w' is a masked array") as caught:
        model_bytes({"w": masked})
    assert "filled" in caught.value.hint


def test_a_matrix_is_stored_as_the_array_it_is():
    large = np.arange(140_000, dtype=np.float32).reshape(2, -1)

    assert model_bytes({"w": large.view(np.matrix)}) == model_bytes({"w": large})
