"""Vaults: what they keep can be read, moved to a new key, and forgotten."""

import dataclasses

import numpy as np
import pytest

from tallystick.crypto import keys
from tallystick.crypto.envelope import EnvelopeError, encrypt, seal_envelope
from tallystick.crypto.hashes import blob_root
from tallystick.errors import UnavailableError, VerificationError
from tallystick.storage.blobs import FileBlobs
from tallystick.storage.vault import Kept, Vault, read_kept

OWNER, GUEST = keys.secret_from_seed(b"owner"), keys.secret_from_seed(b"guest")
PLAIN = b"age,dose\n41,3\n" * 50


@pytest.fixture
def blobs(tmp_path):
    return FileBlobs(tmp_path / "blobs")


@pytest.fixture
def vault(tmp_path, blobs):
    return Vault(tmp_path / "vault", blobs, OWNER)


class Liar:
    """A holder that serves every blob with its last byte changed."""

    def __init__(self, blobs):
        self.blobs = blobs

    def open(self, root):
        data = self.blobs.open(root).copy()
        data[-1] ^= 1
        return data


def test_a_reader_with_an_envelope_reads_and_the_store_holds_no_plain_byte(vault, blobs):
    kept = vault.keep(PLAIN)
    envelope = vault.envelope(kept, keys.public_of(GUEST))

    assert kept.digest == blob_root(PLAIN)
    assert kept.size == len(PLAIN)
    assert read_kept(kept, envelope, GUEST, [blobs]) == PLAIN
    assert read_kept(kept, vault.envelope(kept), OWNER, [blobs]) == PLAIN
    assert all(PLAIN[:9] not in blobs.open(root).tobytes() for root in blobs.roots())


def test_arrays_are_kept_like_bytes(vault, blobs):
    rows = np.arange(12, dtype=np.float32).reshape(3, 4)
    kept = vault.keep(rows)

    assert read_kept(kept, vault.envelope(kept), OWNER, [blobs]) == rows.tobytes()


def test_an_envelope_for_one_reader_serves_no_other(vault, blobs):
    kept = vault.keep(PLAIN)

    with pytest.raises(EnvelopeError):
        read_kept(kept, vault.envelope(kept, keys.public_of(GUEST)), OWNER, [blobs])


def test_wrong_bytes_are_refused_and_the_next_holder_serves(vault, blobs, tmp_path):
    kept = vault.keep(PLAIN)
    envelope, nobody = vault.envelope(kept), FileBlobs(tmp_path / "empty")

    with pytest.raises(UnavailableError, match="none of 2 holders") as refused:
        read_kept(kept, envelope, OWNER, [Liar(blobs), nobody])
    assert "other bytes" in refused.value.hint
    assert read_kept(kept, envelope, OWNER, [Liar(blobs), nobody, blobs]) == PLAIN


def test_after_the_key_is_destroyed_nobody_reads_and_the_digest_still_names_the_plain_bytes(
    vault, blobs, tmp_path
):
    kept = vault.keep(PLAIN)
    vault.destroy(kept)
    vault.destroy(kept)

    with pytest.raises(UnavailableError, match="not here"):
        vault.envelope(kept)
    assert blobs.has(kept.stored)
    assert list((tmp_path / "vault").iterdir()) == []
    assert kept.digest == blob_root(PLAIN)


def test_after_a_rotation_the_old_key_opens_nothing_new(vault, blobs):
    kept = vault.keep(PLAIN)
    old = vault.envelope(kept, keys.public_of(GUEST))
    anew = vault.rotate(kept)

    assert (anew.digest, anew.size) == (kept.digest, kept.size)
    assert anew.stored != kept.stored
    assert read_kept(anew, vault.envelope(anew), OWNER, [blobs]) == PLAIN
    with pytest.raises(EnvelopeError):
        read_kept(anew, old, GUEST, [blobs])
    with pytest.raises(UnavailableError):
        read_kept(kept, old, GUEST, [blobs])
    with pytest.raises(UnavailableError):
        vault.envelope(kept)


def test_a_publisher_who_encrypted_something_else_is_found_out(blobs):
    key = bytes(32)
    stored, size = blobs.put(encrypt(key, b"other rows"))
    lie = Kept(blob_root(PLAIN), len(PLAIN), stored, size)
    envelope = seal_envelope(key, lie.digest, keys.public_of(GUEST))

    with pytest.raises(VerificationError, match="not those of"):
        read_kept(lie, envelope, GUEST, [blobs])


def test_bytes_of_another_length_are_other_bytes(vault, blobs):
    kept = vault.keep(PLAIN)
    short = dataclasses.replace(kept, stored_size=kept.stored_size - 1)

    with pytest.raises(UnavailableError):
        read_kept(short, vault.envelope(kept), OWNER, [blobs])
