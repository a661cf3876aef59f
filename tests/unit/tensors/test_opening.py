import msgspec
import numpy as np
import pytest

from tallystick.codec import decode, encode
from tallystick.crypto.hashes import CHUNK_BYTES, blob_root
from tallystick.errors import ConfigError, VerificationError
from tallystick.tensors.model import model_bytes, read_model, spec_of
from tallystick.tensors.opening import CoefficientProof, prove_coefficient, verify_coefficient

GENERATOR = np.random.default_rng(1)
# The odd number of bytes in "a" puts elements of "w" across a chunk's boundary.
ARRAYS = {
    "a": GENERATOR.integers(-100, 100, CHUNK_BYTES // 2 + 1).astype(np.int8),
    "h": GENERATOR.standard_normal(5).astype(np.float16),
    "w": GENERATOR.standard_normal((300, 701)).astype(np.float32),
    "z": GENERATOR.standard_normal(3),
}
BLOB = np.frombuffer(model_bytes(ARRAYS), np.uint8)
ROOT, SIZE, PARAMETERS = blob_root(BLOB), len(BLOB), spec_of(ARRAYS).parameters
OFFSET = read_model(BLOB).layout.find("w")[1]
ACROSS = (CHUNK_BYTES - OFFSET) // 4


@pytest.mark.parametrize(
    ("name", "index"), [("a", 0), ("h", 4), ("w", 0), ("w", ACROSS), ("w", 210_299), ("z", 2)]
)
def test_a_coefficient_is_opened_under_the_root(name, index):
    value, proof = prove_coefficient(BLOB, name, index)

    assert value == ARRAYS[name].reshape(-1)[index]
    assert decode(CoefficientProof, encode(proof)) == proof
    verify_coefficient(ROOT, SIZE, PARAMETERS, name, index, value, proof)


def test_an_element_across_a_boundary_needs_both_chunks():
    assert (CHUNK_BYTES - OFFSET) % 4
    assert len(prove_coefficient(BLOB, "w", ACROSS)[1].chunks) == 2


def test_every_changed_claim_is_refused():
    value, proof = prove_coefficient(BLOB, "w", 7)
    chunk = proof.chunks[0]
    forged = bytearray(chunk.data)
    forged[OFFSET + 28] ^= 1
    changed = msgspec.structs.replace(chunk, data=bytes(forged))
    claims = [
        (bytes(32), SIZE, "w", 7, value, proof),
        (ROOT, SIZE + 1, "w", 7, value, proof),
        (ROOT, SIZE, "w", 8, value, proof),
        (ROOT, SIZE, "w", 7, value + 1, proof),
        (ROOT, SIZE, "w", 7, float("nan"), proof),
        (ROOT, SIZE, "w", ACROSS, value, proof),
        (ROOT, SIZE, "w", 7, value, CoefficientProof((changed,))),
        (ROOT, SIZE, "w", 7, value, CoefficientProof((chunk, chunk))),
        (ROOT, SIZE, "w", 7, value, CoefficientProof(())),
        (ROOT, SIZE, "w", 7, value, CoefficientProof((msgspec.structs.replace(chunk, path=()),))),
    ]

    for root, size, name, index, claimed, shown in claims:
        with pytest.raises(VerificationError):
            verify_coefficient(root, size, PARAMETERS, name, index, claimed, shown)


@pytest.mark.parametrize(("name", "index"), [("w", -1), ("w", 300 * 701), ("nobody", 0)])
def test_there_is_no_proof_of_what_is_not_there(name, index):
    with pytest.raises(ConfigError):
        prove_coefficient(BLOB, name, index)
